"""A file is written whole or left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from migsim.files import replaced


def write(path: Path, text: str, *, fail: bool = False) -> None:
    with replaced(path) as fresh:
        fresh.write_text(text)
        if fail:
            raise OSError("the disk is full")


def test_a_file_is_there_after_the_block_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    with replaced(path) as fresh:
        fresh.write_text("all")
        assert fresh.name == path.name
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, "old"])
def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "a.csv"
    if before is not None:
        path.write_text(before)
    with pytest.raises(OSError, match="the disk is full"):
        write(path, "ne", fail=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_a_link_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "a.csv", tmp_path / "link.csv"
    path.write_text("old")
    link.symlink_to(path)
    write(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"


def test_the_new_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_in_the_way_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
