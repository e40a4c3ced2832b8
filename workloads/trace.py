"""The guest as a real program was seen to dirty its memory."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from migsim import (
    InputError,
    NamesFiles,
    VirtualMachine,
    Workload,
    jit,
    random_bits,
    random_unit,
    trace_path,
)
from migsim.trace.format import Trace, read_trace
from migsim.trace.replay import changes_of, classes_of, has_content, spots_of
from migsim.units import Fraction, MemoryShare


@jit
def _tabulate(key: np.uint64, count: int, rounds: npt.NDArray[np.uint64]) -> int:
    """Write down the rounds of a random order of ``count`` things; return their half's bits.

    `_shuffle` uses each again and again: an order of n things takes some 8 sqrt(n) hashes.
    """
    half = 1
    while (1 << (2 * half)) < count:
        half += 1
    mask = np.uint64((1 << half) - 1)
    for step in range(4):
        for right in range(1 << half):
            rounds[step, right] = random_bits(key, 4 * right + step) & mask
    return half


@jit
def _shuffle(
    places: npt.NDArray[np.int64],
    pending: npt.NDArray[np.int64],
    count: int,
    half: int,
    rounds: npt.NDArray[np.uint64],
) -> None:
    """Move the ``places`` listed in ``pending`` to where a random order of ``count`` has them.

    A four-round Feistel network over 2 ``half`` bits, walked until it hits the range (Black and
    Rogaway, CT-RSA 2002): any element of a random permutation without making the permutation. All
    walk in step, since a processor guesses badly when each of them ends.
    """
    # Unsigned, as then no index is asked whether it counts from the end: twice as fast.
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left_to_walk = pending.size
    while left_to_walk > 0:
        walking, left_to_walk = left_to_walk, 0
        for m in range(walking):
            i = np.uint64(pending[m])
            left, right = np.uint64(places[i]) >> shift, np.uint64(places[i]) & mask
            left ^= rounds[0, right]
            right ^= rounds[1, left]
            left ^= rounds[2, right]
            right ^= rounds[3, left]
            place = np.int64((left << shift) | right)
            places[i] = place
            pending[left_to_walk] = np.int64(i)
            left_to_walk += int(place >= count)


@jit
def _fill(
    seed: np.uint64,
    first: int,
    write_share: float,
    duration: float,
    recorded: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    sources: npt.NDArray[np.int64],
    starts: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
    rounds: npt.NDArray[np.uint64],
    found: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
) -> None:
    """Fill in accesses: writes in turn, each read of a page written in the same interval.

    ``recorded`` is what is looked up for each: the page, or what its write changes. ``rounds`` is
    room for `_tabulate`.
    """
    pending = np.empty(found.size, np.int64)
    number = int(np.floor(first * write_share))
    cycle = number // bounds[-1]
    k = int(np.searchsorted(bounds, number - cycle * bounds[-1], side="right")) - 1
    begin = 0
    while begin < found.size:
        base = int(cycle * bounds[-1] + bounds[k])
        count = int(bounds[k + 1] - bounds[k])
        end = min(max(int((base + count) / write_share) - 2 - first, begin), found.size)
        while end < found.size and np.floor((first + end) * write_share) < base + count:
            end += 1
        key = random_bits(seed, sources[k])
        start, step, offset = starts[k], steps[k], cycle * duration
        writes = 0
        for i in range(begin, end):
            j = first + i
            number = int(np.floor(j * write_share))
            is_write = np.floor((j + 1) * write_share) > number
            within = number - base
            times[i] = start + (within + 0.5) * step + offset
            found[i] = within if is_write else int(random_unit(key, j) * count)
            pending[writes] = i
            writes += is_write
        half = _tabulate(key, count, rounds)
        _shuffle(found, pending[:writes], count, half, rounds)
        listed = recorded[sources[k] : sources[k] + count]
        for i in range(begin, end):
            j = first + i
            is_write = np.floor((j + 1) * write_share) > np.floor(j * write_share)
            what = listed[np.uint64(found[i])]
            found[i] = what if is_write else ~what
        begin = end
        k += 1
        if k == sources.size:
            k, cycle = 0, cycle + 1


class _Replay:
    """A recording as accesses: each page seen dirty in an interval is written once in it.

    When within its interval is not known, so the pages of an interval come in random order at
    even distances. At its end the recording starts again.
    """

    def __init__(self, trace: Trace, seed: int, *, speed: float, read_fraction: float) -> None:
        self._seed = np.uint64(seed % 2**64)
        self._share = 1.0 - read_fraction
        self._recorded = trace.pages.astype(np.int64)
        ends = trace.ends / speed
        starts = np.concatenate([[0.0], ends[:-1]])
        self._duration = float(ends[-1]) if ends.size else math.inf
        # Every seed enters the recording at another interval; seed 0 at the first.
        turn = int(random_unit(self._seed, 0) * ends.size) if seed else 0
        order = np.roll(np.arange(ends.size), -turn)
        order = order[trace.counts[order] > 0]
        counts = trace.counts[order].astype(np.int64)
        self._bounds = np.concatenate([[0], np.cumsum(counts)])
        self._sources = trace.offsets[order]
        entered = starts[turn] if ends.size else 0.0
        self._starts = starts[order] - entered + np.where(order < turn, self._duration, 0.0)
        self._steps = (ends - starts)[order] / counts
        half = (int(counts.max(initial=1)) - 1).bit_length() // 2 + 1
        self._rounds = np.empty((4, 1 << half), np.uint64)
        self.pages = trace.page_count

    def look_up(
        self,
        recorded: npt.NDArray[np.int64],
        first: int,
        found: npt.NDArray[np.int64],
        times: npt.NDArray[np.float64],
    ) -> None:
        """Fill in what ``recorded`` says of the accesses from ``first`` on, and their times."""
        if self._bounds[-1] == 0:
            found.fill(0)
            times.fill(np.inf)
            return
        _fill(
            self._seed, first, self._share, self._duration, recorded, self._bounds,
            self._sources, self._starts, self._steps, self._rounds, found, times,
        )  # fmt: skip

    def _writes_before(self, guest_time: float) -> int:
        total = int(self._bounds[-1])
        cycle = max(0, int(guest_time // self._duration))
        offset = cycle * self._duration
        k = int(np.searchsorted(self._starts + offset, guest_time, side="left")) - 1
        if k < 0:
            return cycle * total
        count = int(self._bounds[k + 1] - self._bounds[k])
        within = min(count, max(0, int((guest_time - offset - self._starts[k]) / self._steps[k])))
        while within > 0 and self._time(k, within - 1, offset) >= guest_time:
            within -= 1
        while within < count and self._time(k, within, offset) < guest_time:
            within += 1
        return cycle * total + int(self._bounds[k]) + within

    def _time(self, k: int, within: int, offset: float) -> float:
        return float(self._starts[k] + (within + 0.5) * self._steps[k] + offset)

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time``."""
        if self._bounds[-1] == 0 or guest_time <= 0:
            return 0
        writes = self._writes_before(guest_time)
        count = max(0, int(writes / self._share) - 2)
        while math.floor(count * self._share) < writes:
            count += 1
        return count

    def accesses(
        self, first: int, pages: npt.NDArray[np.int64], times: npt.NDArray[np.float64]
    ) -> None:
        """Fill in the accesses from ``first`` on."""
        self.look_up(self._recorded, first, pages, times)


class _ReplayOfBytes(_Replay):
    """A recording that says what its writes changed (``migsim trace record --content``)."""

    def __init__(self, trace: Trace, seed: int, *, speed: float, read_fraction: float) -> None:
        super().__init__(trace, seed, speed=speed, read_fraction=read_fraction)
        self._trace = trace

    @functools.cached_property
    def spots(self) -> int:
        """Places of a page in which its writes fall; 0 for any place."""
        return spots_of(self._trace)

    @functools.cached_property
    def _changes(self) -> npt.NDArray[np.int64]:
        return changes_of(self._trace)

    def changes(self, first: int, out: npt.NDArray[np.int64]) -> None:
        """Fill in what the accesses from ``first`` on change."""
        self.look_up(self._changes, first, out, np.empty(out.size))

    def classes(self, out: npt.NDArray[np.uint8]) -> None:
        """Set the class of each recorded page."""
        out[: self.pages] = classes_of(self._trace)


class _Placed:
    """A workload moved to another place in memory, several of its pages to one of the guest."""

    def __init__(self, inner: _Replay, *, first_page: int, per_page: int) -> None:
        self._inner = inner
        self._first = first_page
        self._per_page = per_page
        self.pages = first_page + -(-inner.pages // per_page)

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time``."""
        return self._inner.index(guest_time)

    def accesses(
        self, first: int, pages: npt.NDArray[np.int64], times: npt.NDArray[np.float64]
    ) -> None:
        """Fill in the accesses from ``first`` on."""
        self._inner.accesses(first, pages, times)
        reads = pages < 0
        pages[reads] = ~pages[reads]
        pages //= self._per_page
        pages += self._first
        pages[reads] = ~pages[reads]


class _PlacedBytes(_Placed):
    """The same of a recording with content, page by page."""

    def __init__(self, inner: _ReplayOfBytes, *, first_page: int) -> None:
        super().__init__(inner, first_page=first_page, per_page=1)
        self._bytes = inner

    @property
    def spots(self) -> int:
        """Places of a page in which its writes fall; 0 for any place."""
        return self._bytes.spots

    def changes(self, first: int, out: npt.NDArray[np.int64]) -> None:
        """Fill in what the accesses from ``first`` on change."""
        self._bytes.changes(first, out)

    def classes(self, out: npt.NDArray[np.uint8]) -> None:
        """Set the class of each recorded page."""
        self._bytes.classes(out[self._first :])


@functools.lru_cache(maxsize=8)
def _read(path: Path, modified: int) -> Trace:
    """Read a recording once for a whole sweep; ``modified`` tells its versions apart."""
    del modified
    return read_trace(path)


def trace(
    vm: VirtualMachine,
    seed: int,
    *,
    file: Annotated[str, NamesFiles(lambda name: [trace_path(name)])] = "redis",
    offset: MemoryShare = 0,
    speed: float = 1.0,
    read_fraction: Fraction = 0.0,
) -> Workload:
    """Replays the pages that a real program dirtied, from a recording (``migsim trace record``).

    ``file`` is the name of a committed recording or a path. ``speed`` 2 replays it in half the
    time. Recordings hold no reads; ``read_fraction`` adds reads of pages that are written in the
    same interval. The seed chooses where in the recording to start (seed 0: at its beginning).
    What its writes changed and how its pages compressed is replayed too, unless ``write_bytes`` or
    ``content`` are given.
    """
    if not 0 < speed < float("inf"):
        raise InputError(f"workload 'trace': speed is {speed}, expected more than 0")
    if read_fraction >= 1:
        raise InputError(f"workload 'trace': read_fraction is {read_fraction}, expected below 1")
    path = trace_path(file)
    recording = _read(path, path.stat().st_mtime_ns)
    if vm.page_size % recording.page_size:
        raise InputError(
            f"workload 'trace': {path.name} has pages of {recording.page_size} bytes, "
            f"which do not fill a page of {vm.page_size}"
        )
    first, _ = vm.region(recording.page_count * recording.page_size, offset)
    per_page = vm.page_size // recording.page_size
    if per_page == 1 and has_content(recording):
        content = _ReplayOfBytes(recording, seed, speed=speed, read_fraction=read_fraction)
        return _PlacedBytes(content, first_page=first) if first else content
    replay = _Replay(recording, seed, speed=speed, read_fraction=read_fraction)
    if first == 0 and per_page == 1:
        return replay
    return _Placed(replay, first_page=first, per_page=per_page)
