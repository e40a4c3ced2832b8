"""What workloads draw in vectors and blocks is what slow plain twins draw one by one."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import machine, small_trace
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migsim import (
    VirtualMachine,
    Workload,
    child_seed,
    make_workload,
    portable_exp,
    portable_log,
    random_bits,
    random_unit,
    remainder,
)
from migsim.trace.format import read_trace
from workloads import curve, zipf
from workloads.mix import _BLOCK, _Mix

GUEST = VirtualMachine(memory=1 << 30)
MOST = 1300  # accesses: more than two passes of those that draw in passes
windows = st.tuples(st.integers(0, 1 << 42), st.integers(1, MOST))


def take(workload: Workload, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    pages, times = np.empty(count, np.int64), np.empty(count)
    workload.accesses(first, pages, times)
    return pages, times


def written(workload: Workload, first: int, count: int) -> list[int]:
    """Return the pages of accesses, whether they are written or read."""
    pages, _ = take(workload, first, count)
    return np.where(pages < 0, ~pages, pages).tolist()


def close(low: float, high: float) -> Any:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


# ---- arithmetic -------------------------------------------------------------------------------


@given(st.integers(1, 1 << 33), st.data())
def test_remainder(count: int, data: st.DataObject) -> None:
    most = min((1 << 63) - 1, count << 50)
    number = data.draw(st.integers(-most, most))
    near = number // count * count
    for each in (number, near, near - 1, near + 1):
        if -most <= each <= most:
            assert remainder(each, count, 1.0 / count) == each % count


@given(close(-1500.0, 1200.0))
@example(-745.1)
@example(-708.4)
@example(1e9)
@example(-1e300)
def test_exp_is_what_ldexp_makes_of_its_series(x: float) -> None:
    k = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    terms = [1.0 / math.factorial(n) for n in range(13, -1, -1)]
    series = functools.reduce(lambda term, next_one: next_one + term * r, terms)
    try:
        expected = math.ldexp(series, k)
    except OverflowError:
        expected = math.inf
    if abs(x) < 1e6:  # beyond, r is no longer small
        assert portable_exp(x) == expected
    else:
        assert not portable_exp(-abs(x)) > 0


@given(close(2.3e-308, 1e308))
@example(0.0)
@example(1.0)
@example(0.7071067811865476)
@example(np.nextafter(1.0, 0.0))
def test_log_is_what_frexp_makes_of_its_series(x: float) -> None:
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    terms = [1.0 / n for n in range(23, 0, -2)]
    series = functools.reduce(lambda term, next_one: next_one + s * s * term, terms)
    assert portable_log(x) == 2.0 * s * series + exponent * 0.6931471805599453


# ---- one by one -------------------------------------------------------------------------------


@given(windows, st.integers(1, 1 << 62), st.sampled_from([1, 2, 777, 65_536]))
@settings(max_examples=10)
def test_uniform_and_hotcold(window: tuple[int, int], seed: int, count: int) -> None:
    stream, (first, size) = np.uint64(seed), window
    listed = range(first, first + size)
    text = f"(working_set={count * 4}KiB, read_fraction=0.3"
    expected = [int(random_unit(stream, j) * count) for j in listed]
    assert written(make_workload(f"uniform{text})", GUEST, seed), first, size) == expected
    hot = max(1, round(0.1 * count))
    chance = 0.9 if hot < count else 1.0
    expected = [
        int(random_unit(stream, 2 * j + 1) * hot)
        if random_unit(stream, 2 * j) < chance
        else hot + int(random_unit(stream, 2 * j + 1) * (count - hot))
        for j in listed
    ]
    assert written(make_workload(f"hotcold{text})", GUEST, seed), first, size) == expected


@given(windows, st.sampled_from([1, 2, 777, 65_536]), st.sampled_from([0.0, 0.3, 0.875]))
@settings(max_examples=15)
def test_sequential(window: tuple[int, int], count: int, reads: float) -> None:
    first, size = window
    text = f"sequential(working_set={count * 4}KiB, read_fraction={reads}, start=0.5)"
    expected = []
    for j in range(first, first + size):
        writes = math.floor(j * (1.0 - reads))
        number = writes if math.floor((j + 1) * (1.0 - reads)) > writes else j - writes
        expected.append((number + count // 2) % count)
    assert written(make_workload(text, GUEST, 1), first, size) == expected


@given(windows, st.sampled_from(["yes", "no"]))
@settings(max_examples=10)
def test_curve(window: tuple[int, int], scatter: str) -> None:
    first, size = window
    text, stream = "100ms:256KiB 1s:1MiB 10s:2MiB", np.uint64(9)
    sizes, rates = curve._classes(*curve._read(text, 4096), 4096, text)
    chances = np.cumsum(sizes * rates) / np.sum(sizes * rates)
    borders = [0, *np.cumsum(sizes).tolist()]
    stride = curve._scattering_stride(4096) if scatter == "yes" else 1
    expected = []
    for j in range(first, first + size):
        k = int(np.searchsorted(chances[:-1], random_unit(stream, 2 * j), side="right"))
        slot = borders[k] + int(random_unit(stream, 2 * j + 1) * (borders[k + 1] - borders[k]))
        expected.append(slot * stride % 4096)
    workload = make_workload(f"curve(curve={text}, scatter={scatter}, working_set=16MiB)", GUEST, 9)
    assert written(workload, first, size) == expected


EXPONENTS = [0.0, 0.5, 0.99, 1.0 - 1e-5, 1.0, 1.0001, 1.2, 3.0, 8.0]
COUNTS = [1, 2, 3, 100, 65_536, 3 << 29]


@given(windows, st.sampled_from(EXPONENTS), st.sampled_from(COUNTS), st.integers(0, 1 << 62))
@settings(max_examples=40)
def test_zipf(window: tuple[int, int], exponent: float, count: int, seed: int) -> None:
    """Each rank is the one that rejection-inversion, without short cuts, comes to."""
    stream, (first, size) = np.uint64(seed), window
    low, high, bend = zipf._borders(count, exponent)
    out = np.empty(size, np.int64)
    zipf._draw(stream, first, 7, count, exponent, low, high, bend, 1, out)
    expected = [
        zipf._rank(np.uint64(random_bits(stream, first + i)), count, exponent, low, high)
        for i in range(size)
    ]
    assert (out - 6).tolist() == expected


@given(st.sampled_from(EXPONENTS), st.data())
@settings(max_examples=60)
def test_zipf_is_only_sure_of_ranks_that_are_taken(exponent: float, data: st.DataObject) -> None:
    """Next to the very border, where rounding decides."""
    k = data.draw(st.integers(1, 9) | st.integers(1, 3 << 29))
    low, high, bend = zipf._borders(3 << 29, exponent)
    chance = portable_exp(-exponent * portable_log(float(k)))
    border = zipf._integral(k + 0.5, exponent) - chance
    for digits in range(18):
        for side in (-1.0, 1.0):
            y = border + side * 10.0**-digits * chance
            x = portable_exp(zipf._inverse_log(y, exponent))
            if low <= y <= high and int(x + 0.5) == k:
                sure = zipf._is_sure(k, x, y, exponent, bend)
                assert y >= border or not sure, digits


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_zipf_is_sure_of_nearly_all(exponent: float) -> None:
    low, high, bend = zipf._borders(1 << 20, exponent)
    found = 0
    for y in np.linspace(low, high, 1000).tolist():
        x = portable_exp(zipf._inverse_log(y, exponent))
        found += zipf._is_sure(min(max(int(x + 0.5), 1), 1 << 20), x, y, exponent, bend)
    assert found > 940


# ---- traces -----------------------------------------------------------------------------------


def _place(position: int, count: int, key: Any) -> int:
    """Return where a random order of ``count`` things has one: four rounds, walked."""
    half = 1
    while 4**half < count:
        half += 1
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for step in range(4):
            left, right = right, left ^ (int(random_bits(key, 4 * right + step)) & mask)
        position = left << half | right
        if position < count:
            return position


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_trace(tmp_path_factory.mktemp("traces") / "small.mtrace")


@given(st.integers(0, 20_000) | st.integers(1 << 40, 1 << 41), st.integers(1, MOST),
       st.sampled_from([0.0, 0.2, 0.75]), st.sampled_from([0, 3]))  # fmt: skip
@settings(max_examples=25)
def test_trace(trace: Path, first: int, size: int, reads: float, seed: int) -> None:
    recorded, share, stream = read_trace(trace), 1.0 - reads, np.uint64(seed)
    turn = int(random_unit(stream, 0) * recorded.ends.size) if seed else 0
    order = [k for k in np.roll(np.arange(recorded.ends.size), -turn) if recorded.counts[k]]
    bounds = np.concatenate([[0], np.cumsum(recorded.counts[order].astype(np.int64))])
    total, (pages, times) = int(bounds[-1]), take(
        make_workload(f"trace(file={trace}, read_fraction={reads})", machine(200), seed),
        first, size,
    )  # fmt: skip
    starts = np.concatenate([[0.0], recorded.ends[:-1]])
    for i in range(size):
        number = math.floor((first + i) * share)
        k = int(np.searchsorted(bounds, number % total, side="right")) - 1
        source, count = order[k], int(recorded.counts[order[k]])
        listed = recorded.pages_of(source)
        key = np.uint64(random_bits(stream, int(recorded.offsets[source])))
        within = number % total - int(bounds[k])
        if math.floor((first + i + 1) * share) > number:
            assert pages[i] == listed[_place(within, count, key)]
        else:
            assert ~pages[i] == listed[int(random_unit(key, first + i) * count)]
        begin = starts[source] - starts[turn] + (recorded.ends[-1] if source < turn else 0.0)
        step = (recorded.ends[source] - starts[source]) / count
        cycles = (number // total) * float(recorded.ends[-1])
        assert times[i] == begin + (within + 0.5) * step + cycles


# ---- several at once ---------------------------------------------------------------------------


class Counted:
    """A workload that counts what it is asked for."""

    def __init__(self, inner: Workload) -> None:
        self._inner = inner
        self.pages = inner.pages
        self.made = self.asked = 0

    def index(self, guest_time: float) -> int:
        self.asked += 1
        return self._inner.index(guest_time)

    def accesses(self, first: int, pages: np.ndarray, times: np.ndarray) -> None:
        self.made += pages.size
        self._inner.accesses(first, pages, times)


PARTS = [
    "uniform(rate=1000000, read_fraction=0.5)", "sequential(rate=1000000)", "hotcold(rate=999)",
    "sequential(rate=1000000, offset=50%)",
]  # fmt: skip


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3), st.integers(1, 9000)), max_size=4))
@settings(max_examples=15)
def test_mix_across_the_borders_of_its_blocks(moves: list[tuple[int, int, int]]) -> None:
    """The parts in order of time, earlier parts first where times are equal."""
    pages, times = _merged()
    workload = make_workload(f"mix(parts={' + '.join(PARTS)})", GUEST, 4)
    for near, block, size in moves:
        first = max(0, block * _BLOCK + near)
        found = take(workload, first, size)
        np.testing.assert_array_equal(found[0], pages[first : first + size])
        np.testing.assert_array_equal(found[1], times[first : first + size])


@functools.cache
def _merged() -> tuple[np.ndarray, np.ndarray]:
    made = [make_workload(text, GUEST, child_seed(4, k)) for k, text in enumerate(PARTS)]
    taken = [take(part, 0, part.index(0.02)) for part in made]
    pages, times = (np.concatenate(arrays) for arrays in zip(*taken, strict=True))
    order = np.argsort(times, kind="stable")
    return pages[order], times[order]


def test_a_mix_makes_the_accesses_of_its_parts_once() -> None:
    parts = [Counted(make_workload(text, GUEST, 1)) for text in PARTS[:3]]
    workload = functools.reduce(_Mix, parts)  # type: ignore[arg-type]
    for block in range(20):
        take(workload, block * 32_768, 32_768)
    assert [part.asked for part in parts] == [0, 0, 0]
    assert 20 * 32_768 <= sum(part.made for part in parts) <= 20 * 32_768 + 3 * _BLOCK
    take(workload, 12_345_678, 1)
    assert sum(part.asked for part in parts) < 200


def test_phases_ask_for_their_counts_once_a_cycle() -> None:
    workload: Any = make_workload(
        "phases(schedule=1s uniform(rate=30000); 1s sequential(rate=10000))", GUEST, 1
    )
    asked = 0
    whole = workload._count_begun

    def count_begun(cycle: int) -> int:
        nonlocal asked
        asked += 1
        return int(whole(cycle))

    workload._begun = functools.lru_cache(maxsize=4)(count_begun)
    for block in range(100):
        take(workload, block * 4000, 4000)
    assert 10 <= asked <= 12  # ten cycles of 40000 accesses
