"""How time is cut into acts, and accesses into blocks, changes nothing."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
from helpers import migration, preset, row_text, small_arguments, small_trace
from hypothesis import given
from hypothesis import strategies as st
from test_against_oracle import random_accesses

from migsim import Link, Migration, Pages, migrate
from migsim.accesses import AccessWindow
from migsim.codecs import scaled
from migsim.registry import names

PAGES = 150
LINKS = {
    "gigabit": preset("gigabit"),
    "long": preset("long_distance"),
    "slow": Link(rate=2e6, rtt=1e-3),
    "lossy": Link(rate=50e6, rtt=2e-3, loss=0.01, jitter=1e-3, queue="64KiB"),
    "bbr": Link(rate=50e6, rtt=2e-3, loss=0.01, congestion="bbr", streams=3),
    "timed": Link(
        rate=20e6, rtt=1e-3, outages="10ms+5ms,0.1s+0.1s", trace="step(at=30ms, to=9MB/s)"
    ),
}
# Multiples of 2^-20 s add up exactly, so that "the same" can mean: to the bit.
ticks = st.lists(st.integers(0, 60_000).map(lambda ticks: ticks / 2**20), min_size=1, max_size=6)
seeds = st.integers(0, 2**32 - 1)


def fresh(seed: int, link: str = "gigabit", **vm: Any) -> Migration:
    seconds = 3 * PAGES * 4104 / LINKS[link].goodput
    listed = random_accesses(seed, PAGES, 800, seconds)
    return migration(listed, PAGES, LINKS[link], **vm)


def state(handle: Migration) -> tuple[Any, ...]:
    """Return everything that the acts so far have led to."""
    guest, ledger = handle._guest, handle.close()
    numbers = [
        ledger.seconds, ledger.guest, ledger.stalled, ledger.tracking, ledger.throttled,
        ledger.accesses, ledger.faults, ledger.requests, ledger.carried, ledger.zero_pages,
        ledger.sent_by_kind.tolist(), sorted(ledger.latencies.tolist()),
    ]  # fmt: skip
    sets = [guest.log, guest.stale, guest.nonzero, guest.sent, handle.missing]
    return numbers, [pages.indices().tolist() for pages in sets]


@given(seeds, ticks, st.sampled_from([0.0, 1e-4]))
def test_wait(seed: int, parts: list[float], cost: float) -> None:
    whole, pieces = (fresh(seed, vcpus=2, first_write_seconds=cost) for _ in range(2))
    whole.throttle(0.5)
    pieces.throttle(0.5)
    whole.wait(sum(parts))
    for part in parts:
        pieces.wait(part)
    assert state(whole) == state(pieces)


@given(
    seeds,
    st.sampled_from(sorted(LINKS)),
    st.integers(0, PAGES),
    st.lists(st.one_of(st.integers(1, 100_000), st.floats(0.001, 0.5)), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from(["sync", "send"]),
)
def test_send(
    seed: int, link: str, start: int, limits: list[float], again: bool, dirty_log: str
) -> None:
    def make() -> Migration:
        handle = fresh(seed, link, dirty_log=dirty_log, clear_chunk=16 * 4096, zero_fraction=0.2)
        if again:
            handle.send(handle.everything)
            handle.take_dirty()
        return handle

    codec = scaled(ratio=0.3, rate=50e6)
    whole, pieces = make(), make()
    total = whole.send(whole.everything, start=start, codec=codec).bytes
    left, size = pieces.everything, 0
    for limit in limits:
        bound: dict[str, Any] = {"max_bytes": limit}
        if isinstance(limit, float):
            bound = {"until": pieces.now + limit * (whole.now - pieces.now)}
        sent = pieces.send(left, start=start, codec=codec, **bound)
        left, size = sent.left, size + sent.bytes
    size += pieces.send(left, start=start, codec=codec).bytes
    assert size == total
    assert state(whole) == state(pieces)


@given(
    seeds,
    st.sampled_from(sorted(LINKS)),
    st.sampled_from(["none", "forward", "bubble", "multi"]),
    st.integers(1, 4),
    st.booleans(),
    st.lists(st.floats(0.0, 1.2), min_size=1, max_size=6).map(sorted),
)
def test_push(
    seed: int, link: str, prepaging: Any, vcpus: int, preempt: bool, cuts: list[float]
) -> None:
    path = LINKS[link]

    def make() -> Migration:
        listed = random_accesses(seed, PAGES, 800, 3 * PAGES * 4104 / path.goodput)
        handle = migration(listed, PAGES, path, vcpus=vcpus)
        handle.pause()
        handle.resume(handle.everything)
        return handle

    whole, pieces = make(), make()
    began = whole.now
    whole.push(prepaging=prepaging, preempt=preempt)
    for cut in cuts:
        pieces.push(prepaging=prepaging, preempt=preempt, until=began + cut * (whole.now - began))
    pieces.push(prepaging=prepaging, preempt=preempt)
    assert state(whole) == state(pieces)


def test_a_wait_between_two_pushes_keeps_the_pivots() -> None:
    listed = [(0.001, 100, True)]
    handle = migration(
        listed, PAGES, Link(rate=4104e3, rtt=1e-4, overhead=0, page_header=0, congestion="none")
    )
    handle.pause()
    handle.resume(handle.everything)
    handle.push(prepaging="bubble", until=handle.now + 0.005)
    handle.wait(0.005)
    handle.push(prepaging="bubble", until=handle.now + 0.005)
    around = set(range(PAGES)) - set(handle.missing.indices().tolist())
    assert {98, 99, 100, 101, 102} <= around


CASES = [
    (algorithm, workload) for algorithm in names("algorithm") for workload in names("workload")
]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_trace(tmp_path_factory.mktemp("traces") / "small.mtrace")


@functools.cache
def whole_blocks(algorithm: str, workload: str, trace: Path) -> str:
    return row_text(run_small(algorithm, workload, trace))


def run_small(algorithm: str, workload: str, trace: Path) -> Any:
    return migrate(
        algorithm,
        workload,
        memory="4MiB",
        seed=3,
        workload_args=small_arguments(workload, trace),
        vm_args={
            "vcpus": 3,
            "device_state": 9000,
            "resume_seconds": 1e-3,
            "zero_fraction": 0.1,
            "dirty_log": "send",
        },
    )


@pytest.mark.parametrize("block", [7, 64])
@pytest.mark.parametrize(("algorithm", "workload"), CASES)
def test_blocks_of_accesses(
    algorithm: str, workload: str, block: int, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole_blocks(algorithm, workload, trace)
    assert '"completed"' in expected
    monkeypatch.setattr(AccessWindow, "BLOCK", block)
    assert row_text(run_small(algorithm, workload, trace)) == expected


def test_the_small_guests_are_busy(trace: Path) -> None:
    """So that the comparison above compares something."""
    for workload in set(names("workload")) - {"idle"}:
        result = run_small("postcopy", workload, trace).result
        assert result.accesses > 300, workload
        assert result.faults > 3 or workload == "sequential", workload  # that stays behind the push
        assert run_small("precopy", workload, trace).result.pages_sent > 1024 + 50, workload


def test_no_pages_take_no_time() -> None:
    handle = fresh(1)
    nothing = handle.send(Pages.none(PAGES))
    assert (nothing.pages, nothing.bytes, nothing.seconds, handle.now) == (0, 0, 0.0, 0.0)
    assert math.isinf(handle.seconds_to_send(handle.everything))
    assert handle.seconds_to_send(nothing.left) == 0.0
