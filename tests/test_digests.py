"""Digests of files are those of their bytes, at any moment."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from migsim import digests
from migsim.digests import digest_of_file

LONG_AGO = 1_000_000_000 * 10**9


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, in order, as if all were settled for long."""
    seen: list[Path] = []
    original = Path.read_bytes

    def note(path: Path) -> bytes:
        seen.append(path)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    return seen


def test_a_settled_file_is_read_once(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    later = path.stat().st_ctime_ns + 3 * 10**9
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    for _ in range(3):
        assert digest_of_file(path) == hashlib.sha256(b"content").hexdigest()
    assert reads == [path]
    path.write_bytes(b"CONTENT")  # of the same size
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    assert digest_of_file(path) == hashlib.sha256(b"CONTENT").hexdigest()


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two", b"six"):  # perhaps within one tick of the clock
        path.write_bytes(content)
        assert digest_of_file(path) == hashlib.sha256(content).hexdigest()
    assert len(reads) == 3


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_of_file(tmp_path / "none")
