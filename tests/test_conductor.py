"""Several migrations in one virtual time, over what they share."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from helpers import ENDING
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.fleet.conductor import Conductor, Crossing, Processor
from migsim.network import max_min_shares
from migsim.registry import names
from migsim.result import Result
from migsim.simulate import execute, run
from migsim.task import Task

RATE = 125e6


def task(algorithm: str = "precopy", **changes: Any) -> Task:
    given: dict[str, Any] = {
        "algorithm": algorithm,
        "algorithm_args": ENDING.get(algorithm, {}),
        "workload": "hotcold",
        "workload_args": {"rate": "2MB/s", "working_set": "2MiB"},
        "memory": "16MiB",
        "link": "gigabit",
    }
    return Task(**{**given, **changes})


def plain(size: str, **changes: Any) -> Task:
    """Return the copy of an idle guest over a link of 1 Gbit/s without TCP."""
    link_args = {"rate": RATE, "rtt": 0.0, "congestion": "none", **changes.pop("link_args", {})}
    vm_args = {"device_state": 0, "resume_seconds": 0.0}
    return task(
        "stop_and_copy", workload="idle", workload_args={}, memory=size, link="custom",
        link_args=link_args, vm_args=vm_args, **changes,
    )  # fmt: skip


class Rides:
    """Migrations to be run together; afterwards, what each came to and when it ended."""

    def __init__(self, capacities: dict[str, float], **options: Any) -> None:
        self.conductor = Conductor(capacities, **options)
        self.results: dict[int, Result] = {}
        self.ended: dict[int, float] = {}
        self._count = itertools.count()

    def add(self, task: Task, links: tuple[str, ...] = ("a",), at: float = 0.0, **more: Any) -> int:
        number, resolved = next(self._count), task.resolve()
        crossing = Crossing(links=links, rate=resolved.link.rate, **more)

        def done(outcome: Any) -> None:
            self.results[number] = outcome.result
            self.ended[number] = self.conductor.now

        self.conductor.call_at(
            at,
            lambda: self.conductor.launch(
                crossing, lambda share: execute(resolved, None, share), done
            ),
        )
        return number

    def run(self) -> dict[int, Result]:
        self.conductor.run()
        return self.results


@pytest.mark.parametrize("link", ["gigabit", "long_distance", "plain", "lossy"])
@pytest.mark.parametrize("algorithm", names("algorithm"))
def test_one_alone_gives_the_very_numbers(algorithm: str, link: str) -> None:
    links: dict[str, dict[str, Any]] = {
        "plain": {"link": "custom", "link_args": {"rate": RATE, "rtt": 0.0}},
        "lossy": {"link": "metro", "link_args": {"loss": 1e-4}},
    }
    one = task(algorithm, **links.get(link, {"link": link}))
    rides = Rides({"a": RATE})
    rides.add(one)
    assert rides.run()[0] == run(one)


def test_disjoint_links_do_not_meet() -> None:
    rides = Rides({"a": RATE, "b": RATE, "c": RATE})
    rides.add(task(), ("a",))
    rides.add(task("hybrid", seed=1), ("b", "c"))
    assert rides.run() == {0: run(task()), 1: run(task("hybrid", seed=1))}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_equal_migrations_share_equally(count: int) -> None:
    """Max-min: each has a part, so all end together after the time of all of them in turn."""
    alone = run(plain("64MiB")).total_seconds
    rides = Rides({"a": RATE})
    for _ in range(count):
        rides.add(plain("64MiB"))
    rides.run()
    assert list(rides.ended.values()) == pytest.approx([count * alone] * count, rel=1e-6)


def test_a_latecomer_takes_half_and_leaves_the_rest() -> None:
    """The first has it all for 1 s, half until the second is done, then all again."""
    size = 134_217_728 + 32_768 * 8
    rides = Rides({"a": RATE})
    rides.add(plain("384MiB"))
    rides.add(plain("128MiB"), at=1.0)
    rides.run()
    wire = RATE * 1448 / 1538
    second = 2 * size / wire
    assert rides.ended[1] == pytest.approx(1.0 + second, abs=0.011)
    assert rides.ended[0] == pytest.approx(4 * size / wire, abs=0.011)


def test_narrow_links_leave_room_on_wide_ones() -> None:
    """Bertsekas and Gallager's example: 10 and 4 are shared as 8, 2 and 2."""
    capacities = {"a": RATE, "b": 0.4 * RATE}
    ways = [("a",), ("a", "b"), ("b",)]
    shares = max_min_shares(capacities, ways)
    rides = Rides(capacities)
    for way in ways:
        rate = min(capacities[link] for link in way)
        rides.add(plain("256MiB", link_args={"rate": rate}), way)
    rides.run()
    first = min(rides.ended.values())
    goodput = 1448 / 1538
    stream = 65_536 * (4096 + 8)
    assert first == rides.ended[0] == pytest.approx(stream / (shares[0] * goodput), rel=1e-3)
    # When the first is gone nothing changes for the others: their link is the narrow one.
    for number in (1, 2):
        assert rides.ended[number] == pytest.approx(stream / (shares[1] * goodput), rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(
    starts=st.lists(st.floats(0, 0.3), min_size=2, max_size=5),
    chosen=st.lists(st.sampled_from(["precopy", "hybrid", "postcopy", "xbzrle", "qemu"]),
                    min_size=5, max_size=5),
    rtt=st.sampled_from([0.0, 2e-4, 0.03]),
)  # fmt: skip
def test_a_link_never_carries_more_than_it_can(
    starts: list[float], chosen: list[str], rtt: float
) -> None:
    """Nor do guests meet anything stale, or time get lost, whoever they share with."""
    rides = Rides({"a": RATE})
    for number, at in enumerate(starts):
        link = {"rate": RATE, "rtt": rtt}
        rides.add(task(chosen[number], link="custom", link_args=link, seed=number), at=at)
    results = rides.run()
    assert {result.status for result in results.values()} == {"completed"}
    begun, over = min(starts), max(rides.ended.values())
    sent = sum(result.bytes_sent - result.sent_requests for result in results.values())
    # Shares are divided anew once a tick, and take a round trip to be known.
    slack = 0.01 + len(starts) * rtt
    assert sent <= RATE * (over - begun + slack)


def test_results_do_not_depend_on_the_order_in_which_migrations_are_told() -> None:
    ones = [task(seed=seed, workload_args={"rate": f"{seed + 1}MB/s"}) for seed in range(4)]
    forth, back = Rides({"a": RATE}), Rides({"a": RATE})
    for one in ones:
        forth.add(one)
    for one in reversed(ones):
        back.add(one)
    there, again = forth.run(), back.run()
    assert [there[k] for k in range(4)] == [again[3 - k] for k in range(4)]


def test_the_length_of_a_tick_matters_little() -> None:
    ends = []
    for tick in (0.002, 0.01, 0.02):
        rides = Rides({"a": RATE}, tick=tick)
        for seed in range(3):
            rides.add(task(seed=seed, memory="64MiB"), at=0.1 * seed)
        rides.run()
        ends.append(sorted(rides.ended.values()))
    for other in ends[1:]:
        assert other == pytest.approx(ends[0], rel=0.03)


def test_encoders_share_the_processor_of_their_host() -> None:
    """Two encoders of 4 threads on 4 cores beside a guest that uses one: each gets 1.5 of them."""
    codec = {"codec": "zstd(level=1, threads=4)"}
    one = task("compressed", algorithm_args=codec, link="100g", workload="idle", workload_args={})
    alone = run(one)
    rides = Rides({"a": 1e12, "b": 1e12}, processors=lambda name, now: Processor(4.0, (1.0,)))
    rides.add(one, ("a",), processor="h")
    rides.add(one, ("b",), processor="h")
    crowded = rides.run()[0]
    assert crowded.cpu_seconds == pytest.approx(alone.cpu_seconds, rel=1e-9)
    encoding, slower = (r.total_seconds - r.downtime_seconds for r in (alone, crowded))
    assert slower == pytest.approx(encoding * 4 / 1.5, rel=0.05)


def test_actions_happen_in_order_of_time_and_then_of_asking() -> None:
    conductor = Conductor({})
    heard: list[tuple[float, str]] = []
    for at, name in ((2.0, "c"), (1.0, "a"), (1.0, "b")):
        conductor.call_at(at, lambda name=name: heard.append((conductor.now, name)))
    conductor.run()
    assert heard == [(1.0, "a"), (1.0, "b"), (2.0, "c")]
    with pytest.raises(ValueError, match=r"call_at\(1.5\): it is 2.0 already"):
        conductor.call_at(1.5, lambda: None)


def test_ticks_are_found_exactly() -> None:
    """18.22 / 0.01 is less than 1822 in floating point: time must not stand still there."""
    conductor = Conductor({})
    for k in range(5000):
        at = k * 0.01
        conductor.now = at
        assert conductor.soon > at
        assert math.isclose(conductor.soon - at, 0.01, rel_tol=1e-9)
