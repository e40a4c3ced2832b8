"""How fast the engine is, and that its work is what it should be.

In the ordinary suite each case runs once and only the amount of work is checked. To measure:
``pytest tests/benchmarks --benchmark-enable --benchmark-only``; `migsim bench` tells ratios.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from migsim._kernels.xbzrle import encode_page, encode_pages
from migsim.bench import numpy_xbzrle
from migsim.bench.cases import LARGE, Case, postcopy, replay, versions, xbzrle
from migsim.peers.case import linear_case
from migsim.peers.simgrid import simgrid
from migsim.simulate import execute
from migsim.units import GIB, MIB
from migsim.validate.linear import linear_task

Benchmark = Any  # pytest-benchmark has no types


def measure(benchmark: Benchmark, function: Any, *arguments: Any, accesses: int = 0) -> Any:
    result = benchmark.pedantic(function, arguments, rounds=5, warmup_rounds=1)
    if accesses and benchmark.stats is not None:
        rate = accesses / benchmark.stats.stats.min
        benchmark.extra_info["million_accesses_per_second"] = round(rate / 1e6, 1)
    return result


@pytest.mark.parametrize("gib", [1, 16])
def test_accesses_replayed(benchmark: Benchmark, gib: int) -> None:
    accesses = 20_000_000
    migration = measure(benchmark, replay, gib * GIB, accesses, accesses=accesses)
    ledger = migration.close()
    assert ledger.accesses == accesses
    # W (1 - (1 - 1/W)^n) distinct pages; the deviation is below the square root of W.
    pages = gib * GIB // 4096
    expected = pages * (1 - (1 - 1 / pages) ** accesses)
    assert abs(len(migration.peek_dirty()) - expected) < 5 * pages**0.5


def test_precopy_of_64_gib(benchmark: Benchmark) -> None:
    result = measure(benchmark, LARGE.engine).result
    assert result.status == "completed"
    # 16.8 million pages of 4104 bytes at 9.415 Gbit/s take 58.5 s, in which the guest writes
    # W (1 - exp(-5.85 M / W)) = 3.16 million of its W = 4.19 million pages; and so on.
    pages, hot, seconds, dirty = 64 * GIB // 4096, 16 * GIB // 4096, 0.0, 64 * GIB / 4096
    sent, rounds, pages_per_second = 0.0, 0, 1.25e9 * 1448 / 1538 / 4104
    while dirty / pages_per_second > 0.3:
        sent, rounds, seconds = sent + dirty, rounds + 1, seconds + dirty / pages_per_second
        dirty = hot * (1 - math.exp(-1e5 * dirty / pages_per_second / hot))
    assert result.rounds == rounds
    assert result.pages_sent == pytest.approx(sent + dirty, rel=1e-3)
    assert result.accesses == pytest.approx(1e5 * seconds, rel=1e-3)
    assert result.sent_first_copy == pages * 4096


def test_precopy_of_64_gib_in_numpy(benchmark: Benchmark) -> None:
    result = measure(benchmark, LARGE.numpy)
    assert result.stale == 0
    same_as_the_engine(LARGE, result)


def test_linear_writer_of_4_gib(benchmark: Benchmark) -> None:
    """SimGrid's guest: what its recursion sends, page by page."""
    memory, rate = 4 * GIB, 50e6
    task = linear_task(memory, memory * 9 // 10, rate).resolve()
    result = measure(benchmark, execute, task).result
    said = simgrid(linear_case(memory, rate, 125e6, working_set=memory * 0.9))
    assert (result.status, result.rounds) == ("completed", said.rounds)
    assert result.pages_sent * 4096 == pytest.approx(said.sent, rel=1e-4)
    assert result.accesses == pytest.approx(rate / 4096 * result.guest_seconds, abs=1)


def test_postcopy_of_16_gib(benchmark: Benchmark) -> None:
    result = measure(benchmark, postcopy).result
    assert result.status == "completed"
    assert result.pages_sent == 16 * GIB // 4096
    assert result.faults > 0


def test_xbzrle_of_64_gib(benchmark: Benchmark) -> None:
    result = measure(benchmark, xbzrle).result
    assert result.status == "completed"
    # The cache is a thousandth of the memory: what the first pass has left misses once, or again.
    pages = 64 * GIB // 4096
    assert result.cache_misses == result.pages_sent - pages - result.encoded_pages
    assert 0 < result.encoded_pages < 16_384
    assert result.accesses == pytest.approx(1e5 * result.guest_seconds, abs=2)


@pytest.mark.parametrize("words", [1, 10, 100])
def test_xbzrle_of_pages(benchmark: Benchmark, words: int) -> None:
    old, new = versions(words, 1024)
    room, sizes = np.empty(4096, np.uint8), np.empty(len(new), np.int64)
    measure(benchmark, encode_pages, old, new, room, sizes)
    # Before each word the lengths of two runs, one byte or two; neighbours are one run.
    assert 8 * words + 2 <= sizes.min() <= sizes.max() <= (8 + 3) * words


@pytest.mark.parametrize("words", [0, 1, 10, 100])
def test_xbzrle_in_numpy_gives_the_same_bytes(benchmark: Benchmark, words: int) -> None:
    old, new = versions(words, numpy_xbzrle.BATCH + 44)
    old[7], new[7] = 0, 0
    new[7, [0, 1, 300, 4095]] = 1  # runs at both ends of a page
    new[8, :200] = ~old[8, :200]  # a run whose length takes two bytes
    data, sizes = measure(benchmark, numpy_xbzrle.encode, old, new)
    room, wanted = np.empty(4096, np.uint8), []
    for before, after in zip(old, new, strict=True):
        size = encode_page(before, after, before.view(np.uint64), after.view(np.uint64), room)
        wanted.append(room[:size].tobytes())
    assert sizes.tolist() == [len(message) for message in wanted]
    assert data.tobytes() == b"".join(wanted)


def same_as_the_engine(case: Case, result: Any) -> None:
    engine = case.engine().result
    assert engine.status == "completed"
    assert (result.rounds, result.pages_sent) == (engine.rounds, engine.pages_sent)
    assert result.accesses == engine.accesses
    assert result.total_seconds == pytest.approx(engine.total_seconds, rel=1e-9)
    assert result.downtime_seconds == pytest.approx(engine.downtime_seconds, rel=1e-9)


@pytest.mark.parametrize(
    "case",
    [
        Case(1 * MIB, 1 * MIB, 1e3, "gigabit"),
        Case(16 * MIB, 4 * MIB, 2e4, "gigabit", seed=1, max_downtime=0.001),
        Case(16 * MIB, 16 * MIB, 5e4, "gigabit", seed=2, max_downtime=0.01, max_rounds=5),
        Case(64 * MIB, 32 * MIB, 1e4, "transatlantic", seed=3, max_downtime=0.1),
        Case(64 * MIB, 64 * MIB, 1e5, "metro", seed=-4, max_rounds=3),
        Case(256 * MIB, 128 * MIB, 2e4, "long_distance", seed=2**63 - 1, max_downtime=0.05),
        Case(GIB, GIB, 1e5, "10g", seed=5, max_downtime=0.03),
        Case(GIB, GIB // 4, 1e5, "100g", seed=6, max_downtime=1e-4),
    ],
    ids=str,
)
def test_numpy_agrees_with_the_engine(case: Case) -> None:
    result = case.numpy()
    assert result.stale == 0
    same_as_the_engine(case, result)
