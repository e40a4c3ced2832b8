"""Recordings with content, replayed: what writes change, and how pages compress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migsim import migrate
from migsim._kernels.content import BLEND, FORCED
from migsim.codec_sizes import page_sizes
from migsim.content import PAGE_BYTES, RecordedContent
from migsim.machine import VirtualMachine
from migsim.registry import find, trace_names, trace_path
from migsim.trace.content import code
from migsim.trace.format import Trace, read_trace, write_trace
from migsim.trace.replay import changes_of, classes_of, has_content, spots_of

PAGES, INTERVALS = 256, 50

OF_MEMORY = [name for name in trace_names() if not name.endswith("_disk")]
"""Recordings of programs' memory; those of disks tell which blocks were written, and no more."""


def recording(path: Path, changed: int = 40, runs: int = 5, since: int = 40) -> Path:
    """Write a recording in which every second page is written in each interval."""
    each = PAGES // 2
    entries = each * INTERVALS
    silent = np.arange(entries) % 4 == 0
    columns = {
        "changed": code(np.where(silent, 0, changed)),
        "runs": code(np.where(silent, 0, runs)),
        "flags": np.zeros(entries, np.uint8),
        "size_xbzrle": code(np.full(entries, changed + 3 * runs)),
        "size_lz4": code(np.full(entries, 2100)),
        "size_zlib": code(np.full(entries, 1300)),
        "size_zstd": code(np.full(entries, 1250)),
        "size_delta_zstd": code(np.full(entries, 80)),
        "changed_since": code(np.where(silent, 0, since)),
    }
    written = np.tile(np.arange(0, PAGES, 2, dtype=np.uint32), INTERVALS)
    write_trace(
        path,
        Trace(
            ends=np.arange(1, INTERVALS + 1) / 100,
            counts=np.full(INTERVALS, each, np.uint32),
            pages=written,
            resident=np.arange(PAGES, dtype=np.uint32),
            pages_total=PAGES,
            columns=columns,
        ),
    )
    return path


def test_what_is_replayed_is_what_was_recorded(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.mtrace")
    vm = VirtualMachine(memory=PAGES * PAGE_BYTES)
    replay = find("workload", "trace").call(vm, 5, file=str(path))
    assert isinstance(replay, RecordedContent)
    pages, changes = np.empty(3000, np.int64), np.empty(3000, np.int64)
    replay.accesses(100, pages, np.empty(3000))
    replay.changes(100, changes)
    assert set(changes.tolist()) == {0, 40 | 5 << 16 | FORCED}
    # A page's entry says the same in every interval: those numbered 0, 4, 8 ... are silent.
    assert ((changes == 0) == (pages // 2 % 4 == 0)).all()
    part = np.empty(50, np.int64)
    replay.changes(1100, part)
    assert (part == changes[1000:1050]).all()


def test_pages_compress_as_they_were_recorded_to(tmp_path: Path) -> None:
    trace = read_trace(recording(tmp_path / "a.mtrace"))
    classes = classes_of(trace)
    assert (classes >= BLEND).all()
    lz4, zstd = (page_sizes(name, 1, {})[classes].mean() for name in ("lz4", "zstd-1"))
    assert lz4 == pytest.approx(2100, rel=0.1)
    assert zstd == pytest.approx(1250, rel=0.1)


@pytest.mark.parametrize(("since", "spots"), [(40, 1), (79, 2)])
def test_growth_tells_whether_the_same_bytes_are_written(
    tmp_path: Path, since: int, spots: int
) -> None:
    assert spots_of(read_trace(recording(tmp_path / "a.mtrace", since=since))) == spots


@pytest.mark.parametrize("offset", [0, 64])
@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [("delta", {}), ("compressed", {}), ("multifd", {"compression": "zlib"}), ("xbzrle", {})],
)
def test_sizes_and_bytes_agree(
    tmp_path: Path, algorithm: str, arguments: dict[str, Any], offset: int
) -> None:
    path = recording(tmp_path / "a.mtrace")
    sizes, real = (
        migrate(
            algorithm, "trace", "gigabit", memory="4MiB",
            algorithm_args={"max_downtime": "1ms", **arguments},
            workload_args={"file": str(path), "offset": offset * PAGE_BYTES, "speed": 4.0},
            link_args={"rate": "100Mbit/s"}, vm_args={"memory_model": model},
        ).result
        for model in ("sizes", "bytes")
    )  # fmt: skip
    assert (sizes.status, real.status) == ("completed", "completed"), real.error
    assert sizes.bytes_sent == pytest.approx(real.bytes_sent, rel=0.05)
    assert sizes.total_seconds == pytest.approx(real.total_seconds, rel=0.05)


def test_parameters_given_replace_what_was_recorded(tmp_path: Path) -> None:
    path = str(recording(tmp_path / "a.mtrace"))

    def run(**arguments: Any) -> Any:
        return migrate(
            "delta", "trace", memory="2MiB",
            algorithm_args={"max_downtime": "10us"},
            workload_args={"file": path, "speed": 20.0, **arguments},
        ).result  # fmt: skip

    assert run().unchanged_pages > 0
    assert run(write_bytes=4096, content="encrypted").sent_resent > 2 * run().sent_resent


@pytest.mark.parametrize("name", OF_MEMORY)
def test_the_committed_recordings_have_content(name: str) -> None:
    trace = read_trace(trace_path(name))
    assert has_content(trace)
    changes = changes_of(trace)
    assert changes.shape == trace.pages.shape
    count, runs = changes & 0xFFFF, (changes >> 16) & 0x3FFF
    assert count.max() <= PAGE_BYTES
    assert ((runs > 0) == (count > 0)).all()
    assert (runs <= np.maximum(count, 1)).all()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_our_pages_are_like_real_ones() -> None:
    """In points of a page: recordings within 6, the classes within 15 of this machine's pages."""
    from migsim.validate.content import compare_classes, compare_recordings

    recorded, classes = compare_recordings(), compare_classes()
    assert {item.pages for item in recorded} == set(OF_MEMORY)
    assert max(abs(item.difference) for item in recorded) < 0.06
    assert max(abs(item.difference) for item in classes if item.pages != "heap") < 0.15
