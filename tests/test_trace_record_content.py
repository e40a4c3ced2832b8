"""Recording what happens to bytes: exactly in this process, roughly in one that runs on."""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path

import lz4.block
import numpy as np
import pytest
import zstandard
from click.testing import CliRunner
from test_trace_record import compiled, needs_kernel, needs_linux, recording, running

from migsim.trace.cli import trace as command
from migsim.trace.content import (
    COLUMNS,
    DUPLICATE,
    NEW,
    NOT_MEASURED,
    SAMPLED,
    SAMPLES,
    ZERO,
    code,
    decode,
)
from migsim.trace.format import read_trace
from migsim.trace.recording import record
from migsim.trace.recording._content import ContentMeter, sample
from migsim.trace.recording._copies import _FIRST, Copies
from migsim.trace.recording._reading import CHUNK, read_pages
from migsim.trace.recording.recorder import Method

PAGE = 4096
ME = os.getpid()
NOWHERE = 1  # a page number that is never mapped


class Memory:
    """A few pages of this process, and a meter that looks at them."""

    def __init__(self, pages: int) -> None:
        raw = np.frombuffer(mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE), np.uint8)
        self.bytes = raw.reshape(-1, PAGE)
        self.first = raw.ctypes.data // PAGE
        self.meter = ContentMeter()

    def ranges(self, *pages: int) -> np.ndarray:
        first = np.array(sorted(pages), np.int64) + self.first
        return np.stack([first, first + 1], axis=1)

    def look(self, *pages: int) -> dict[str, np.ndarray]:
        return self.meter.take(ME, self.ranges(*pages))


@recording
@needs_linux
def test_columns_of_known_writes() -> None:
    memory = Memory(5)
    rng = np.random.default_rng(1)
    memory.bytes[:4] = rng.integers(0, 256, (4, PAGE), np.uint8)
    memory.meter.first_look(ME, memory.ranges(0, 1, 2, 3))
    before = memory.bytes.copy()

    memory.bytes[0, 8:16] ^= 0xFF
    memory.bytes[0, 100] ^= 1
    memory.bytes[2] = 0
    memory.bytes[3] = memory.bytes[1]
    memory.bytes[4, :10] = 7
    found = memory.look(0, 1, 2, 3, 4)
    assert found.keys() == COLUMNS.keys()
    assert all(values.dtype == np.uint8 for values in found.values())
    changed = [9, 0, *(np.count_nonzero(before[i] != memory.bytes[i]) for i in (2, 3)), 10]
    assert found["changed"].tolist() == code(changed).tolist()
    assert found["runs"][[0, 1, 4]].tolist() == code([2, 0, 1]).tolist()
    assert found["flags"].tolist() == [0, DUPLICATE, ZERO, DUPLICATE, NEW]
    assert (found["changed_since"] == found["changed"]).all()
    # 0: skip 8, 8 bytes, skip 84, 1 byte: two lengths of a byte each per run
    assert found["size_xbzrle"][[0, 1, 4]].tolist() == code([9 + 4, 0, 10 + 2]).tolist()
    pages = [page.tobytes() for page in memory.bytes]
    frames = zstandard.ZstdCompressor(level=1, write_checksum=False, write_content_size=False)
    deltas = [page.tobytes() for page in memory.bytes ^ before]
    for name, sizes in {
        "size_lz4": [len(lz4.block.compress(page, store_size=False)) for page in pages],
        "size_zlib": [len(zlib.compress(page, 1)) for page in pages],
        "size_zstd": [len(frames.compress(page)) for page in pages],
        "size_delta_zstd": [len(frames.compress(delta)) for delta in deltas],
    }.items():
        assert found[name].tolist() == code(sizes).tolist(), name
    assert memory.meter.failures == {"failed_reads": 0}


@recording
@needs_linux
def test_the_checkpoint_is_taken_every_tenth_interval() -> None:
    memory = Memory(2)
    memory.bytes[:] = 1
    memory.meter.first_look(ME, memory.ranges(0, 1))
    since = []
    for step in range(1, 13):
        memory.bytes[0, 10 * step : 10 * step + 10] = 2  # other bytes every time
        memory.bytes[1, 0] = 1 + step  # the same byte every time
        since.append(decode(memory.look(0, 1)["changed_since"]).round().tolist())
    wanted = [[10.0 * step, 1.0] for step in range(1, 11)]
    assert since == [pytest.approx(x, rel=0.02) for x in [*wanted, [10.0, 1.0], [20.0, 1.0]]]


@recording
@needs_linux
def test_a_page_that_vanishes_is_counted_and_unknown() -> None:
    memory = Memory(1)
    memory.bytes[:] = 1
    ranges = np.array([[NOWHERE, NOWHERE + 1], [memory.first, memory.first + 1]])
    for _ in range(2):
        found = memory.meter.take(ME, ranges)
        assert found["changed"][0] == found["runs"][0] == NOT_MEASURED
        assert all(found[name][0] == NOT_MEASURED for name in SAMPLED)
        assert found["flags"][0] == 0
    assert found["changed"][1] == 0
    assert memory.meter.failures == {"failed_reads": 2}


@recording
@needs_linux
def test_reading_goes_around_what_is_gone() -> None:
    memory = Memory(3)
    memory.bytes[:] = np.array([[1], [2], [3]], np.uint8)
    buffer = np.zeros((CHUNK, 512), np.uint64)
    pages = np.array([NOWHERE, NOWHERE + 1, memory.first, memory.first + 2])
    assert read_pages(ME, pages, buffer).tolist() == [False, False, True, True]
    assert (buffer[2:4].view(np.uint8) == np.array([[1], [3]])).all()
    assert read_pages(ME, pages[2:], buffer).tolist() == [True, True]
    assert (buffer[:2].view(np.uint8) == np.array([[1], [3]])).all()
    assert read_pages(ME, pages[:0], buffer).size == 0
    with pytest.raises(ProcessLookupError):
        read_pages(2**22 + 7, pages, buffer)


@recording
@compiled
@needs_linux
def test_some_pages_of_many_are_encoded() -> None:
    memory = Memory(CHUNK + 100)
    memory.bytes[:, 0] = 1
    found = memory.look(*range(CHUNK + 100))
    chosen = sample(CHUNK + 100)
    assert chosen.size == SAMPLES
    for name in SAMPLED:
        assert np.flatnonzero(found[name] != NOT_MEASURED).tolist() == chosen.tolist()
    assert (found["changed"] == code([1])).all()
    assert (found["flags"] == NEW | DUPLICATE).all()


def test_samples_are_spread_evenly() -> None:
    assert sample(3).tolist() == [0, 1, 2]
    assert sample(0).size == 0
    assert sample(100, 4).tolist() == [12, 37, 62, 87]
    for count in (SAMPLES, SAMPLES + 1, 24_480):
        chosen = sample(count)
        assert chosen.size == SAMPLES
        assert np.diff(chosen).min() >= count // SAMPLES
        assert 0 <= chosen[0] <= chosen[-1] < count


@needs_linux
def test_slots_stay_when_pages_come_between_and_when_there_are_many() -> None:
    copies = Copies()
    first = np.array([10, 30])
    one = copies.slots(first)
    two = copies.slots(np.array([5, 10, 20, 30, 40]))
    assert (two[[1, 3]] == one).all()
    assert sorted(two.tolist()) == [0, 1, 2, 3, 4]
    page = np.full((2, 512), 3, np.uint64)
    out = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2, np.uint8)
    copies.take(one, page, np.zeros(2, np.uint64), np.ones(2, np.bool_), *out)
    many = copies.slots(np.arange(100, 100 + 2 * _FIRST))
    assert np.unique(many).size == 2 * _FIRST
    assert (copies.latest(one) == 3).all()
    assert not copies.latest(many[-1:]).any()
    assert copies.present(np.concatenate([one, many[-1:]])).tolist() == [True, True, False]
    assert (copies.slots(first) == one).all()


EACH, RESIDENT = 64, 5 * 64

# Every 50 ms, in 64 pages each: other values in the same 8 bytes, the same value again, other bytes
# each time, zeros again, one and the same new page everywhere; and 4 fresh pages of random bytes.
# The places are page numbers in the largest mapping.
WRITER = f"""
import mmap, os, time
pages = 40_000
memory = mmap.mmap(-1, pages * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
memory[: {RESIDENT} * 4096] = os.urandom({RESIDENT} * 4096)
for page in range({3 * EACH}, {4 * EACH}):
    memory[page * 4096 : page * 4096 + 4096] = bytes(4096)
print("ready", flush=True)
step, fresh = 0, {RESIDENT}
while True:
    step += 1
    for page in range({EACH}):
        at = page * 4096
        memory[at + 200 : at + 208] = bytes([step % 251]) * 8
        at += {EACH} * 4096
        memory[at : at + 16] = memory[at : at + 16]
        at += {EACH} * 4096
        memory[at + step * 20 % 4080 : at + step * 20 % 4080 + 10] = os.urandom(10)
        at += {EACH} * 4096
        memory[at : at + 4096] = bytes(4096)
        at += {EACH} * 4096
        memory[at : at + 4096] = bytes([step % 250]) * 4096
    memory[fresh * 4096 : (fresh + 4) * 4096] = os.urandom(4 * 4096)
    fresh += 4
    time.sleep(0.05)
"""


@recording
@compiled
@needs_kernel
@pytest.mark.parametrize("method", ["uffd-wp", "compare"])
def test_known_writes_of_a_running_program(method: Method) -> None:
    with running(program=WRITER) as process:
        trace = record(
            None, pid=process.pid, interval=0.1, duration=2.0, method=method, largest_mapping=True,
            content=True,
        )  # fmt: skip
    assert trace.columns.keys() == COLUMNS.keys()
    assert all(values.size == trace.pages.size for values in trace.columns.values())
    assert trace.meta["failed_reads"] == 0
    assert 0 < trace.meta["content"]["read_median"] < 0.1
    group = np.minimum(trace.pages // EACH, 5)
    changed, flags = decode(trace.columns["changed"]), trace.columns["flags"]
    since = decode(trace.columns["changed_since"])

    def of(which: int, values: np.ndarray) -> np.ndarray:
        found = values[group == which]
        assert (found.size > 10 * EACH) == (which < 5)
        return found

    same, silent, others, zeros, alike, fresh = range(6)
    assert np.median(of(same, changed)) == pytest.approx(8, rel=0.02)
    assert np.median(of(same, trace.columns["runs"])) == 1
    assert np.nanmedian(of(same, since)) == pytest.approx(8, rel=0.02)
    assert np.nanmedian(of(others, since)) > 3 * np.median(of(others, changed))
    assert 10 < np.median(of(others, changed)) < 45  # one to four steps an interval
    assert np.median(of(alike, changed)) == 4096
    assert (of(alike, flags) & DUPLICATE != 0).mean() > 0.95
    assert (of(alike, flags) & ZERO == 0).mean() > 0.95
    assert (of(fresh, flags) & NEW != 0).mean() > 0.9
    assert np.median(of(fresh, changed)) == pytest.approx(4080, rel=0.02)
    assert (of(same, flags) == 0).all()
    if method == "compare":
        assert not np.isin([silent, zeros], group).any()
    else:
        assert (of(silent, changed) == 0).all()
        assert (of(zeros, changed) == 0).all()
        assert (of(zeros, flags) == ZERO | DUPLICATE).all()


@recording
@compiled
@needs_kernel
def test_the_first_interval_is_like_any_other() -> None:
    """What is written while everything is copied counts neither as new nor as silent."""
    with running(program=WRITER) as process:
        trace = record(
            None, pid=process.pid, interval=0.1, duration=0.3, largest_mapping=True, content=True
        )
    first = slice(0, int(trace.counts[0]))
    old = trace.pages[first] < RESIDENT
    assert not (trace.columns["flags"][first][old] & NEW).any()
    assert np.median(trace.columns["changed"][first][trace.pages[first] < EACH]) == code([8])


@recording
@compiled
@needs_kernel
def test_the_command_records_content(tmp_path: Path) -> None:
    target = str(tmp_path / "sleep.mtrace")
    options = ["--content", "--interval", "50ms", "--duration", "400ms", "--output", target]
    result = CliRunner().invoke(command, ["record", *options, "--", "sleep", "5"])
    assert result.exit_code == 0, result.output
    assert read_trace(target).columns.keys() == COLUMNS.keys()
    assert "Content" in CliRunner().invoke(command, ["info", target]).output
