"""Ways through a fleet's networks, their links, and when they are down."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim import InputError, Link
from migsim.fleet.model import Failure, Fleet, Host, Migrating, Network, Trunk
from migsim.fleet.topology import (
    capacities,
    link_args_of,
    link_of,
    outages_after,
    path,
    reachable,
)
from migsim.network.schedule import parse_outages
from migsim.task import Task

GBIT = 125e6


def fleet(*trunks: Trunk, failures: tuple[Failure, ...] = ()) -> Fleet:
    """Return networks ny, paris, london and far with a host each, and a second one in ny."""
    names = ("ny", "paris", "london", "far")
    hosts = [Host(name=f"{name}-1", network=name, cores=8, memory=2**36) for name in names]
    hosts.append(Host(name="ny-2", network="ny", cores=8, memory=2**36, rate=GBIT / 2))
    return Fleet(
        name="test",
        networks={
            name: Network(
                name=name, rate=GBIT, rtt=1e-4 * (i + 1), most_migrations=[None, 3][i % 2]
            )
            for i, name in enumerate(names)
        },
        hosts={host.name: host for host in hosts},
        vms={},
        trunks={trunk.name: trunk for trunk in trunks},
        failures=failures,
    )


DIRECT = Trunk(name="atlantic", first="ny", second="london", rate=GBIT / 10, rtt=0.07, loss=0.1)
OVER = Trunk(name="over", first="paris", second="ny", rate=GBIT / 4, rtt=0.05, loss=0.2)
TUNNEL = Trunk(name="tunnel", first="paris", second="london", rate=2 * GBIT, rtt=0.01, loss=0.5,
               most_migrations=2)  # fmt: skip


def test_within_a_network() -> None:
    way = path(fleet(), "ny-1", "ny-2")
    assert way.links == ("ny-1 out", "ny-2 in")
    assert (way.rate, way.rtt, way.loss, way.trunks) == (GBIT / 2, 1e-4, 0.0, ())
    assert not way.narrow_port
    assert path(fleet(), "ny-2", "ny-1").narrow_port
    assert way.limits == {"host ny-1": 4, "host ny-2": 4}
    assert way.most_migrations == 4


def test_over_trunks_by_the_least_round_trip() -> None:
    way = path(fleet(DIRECT, OVER, TUNNEL), "ny-1", "london-1")
    assert way.links == ("ny-1 out", "over to paris", "tunnel to london", "london-1 in")
    assert way.rate == GBIT / 4
    assert way.rtt == pytest.approx(0.06 + (1e-4 + 3e-4) / 2, rel=1e-12)
    assert way.loss == pytest.approx(1 - 0.8 * 0.5, rel=1e-12)
    assert way.limits == {"host ny-1": 4, "host london-1": 4, "network paris": 3, "trunk tunnel": 2}
    assert way.most_migrations == 2
    back = path(fleet(DIRECT, OVER, TUNNEL), "london-1", "ny-1")
    assert back.links == ("london-1 out", "tunnel to paris", "over to ny", "ny-1 in")


def test_the_loss_of_one_trunk_is_the_way_s_to_the_bit() -> None:
    """So that a migration alone in a fleet is the one of `migsim migrate`."""
    assert path(fleet(DIRECT), "ny-1", "london-1").loss == DIRECT.loss


def test_equal_round_trips_are_decided_by_hops_and_then_by_names() -> None:
    quick = [dataclasses.replace(trunk, rtt=0.0) for trunk in (OVER, TUNNEL, DIRECT)]
    assert path(fleet(*quick), "ny-1", "london-1").trunks == ("atlantic",)
    twin = dataclasses.replace(DIRECT, name="arctic")
    assert path(fleet(DIRECT, twin), "ny-1", "london-1").trunks == ("arctic",)


def test_no_way() -> None:
    with pytest.raises(InputError, match=r"no way from 'ny-1' to 'far-1'.*'ny' and 'far'"):
        path(fleet(DIRECT), "ny-1", "far-1")
    with pytest.raises(InputError, match="to itself"):
        path(fleet(), "ny-1", "ny-1")
    assert reachable(fleet(DIRECT, TUNNEL), "ny") == {"ny", "london", "paris"}
    assert reachable(fleet(DIRECT, TUNNEL), "far") == {"far"}


ENDS = st.sampled_from(["ny", "paris", "london", "far"])
TRUNKS = st.lists(
    st.builds(
        Trunk,
        name=st.sampled_from("abcdefgh"),
        first=ENDS,
        second=ENDS,
        rate=st.sampled_from([GBIT, GBIT / 8]),
        rtt=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    ).filter(lambda trunk: trunk.first != trunk.second),
    max_size=6,
    unique_by=lambda trunk: trunk.name,
)


@given(TRUNKS)
def test_ways_are_the_best_of_all_and_links_are_known(trunks: list[Trunk]) -> None:
    """Against all sequences of trunks."""
    whole = fleet(*trunks)
    best = math.inf
    for length in range(len(trunks) + 1):
        for tried in itertools.permutations(trunks, length):
            here = "ny"
            for trunk in tried:
                ends = {trunk.first: trunk.second, trunk.second: trunk.first}
                here = ends.get(here, "nowhere")
            if here == "london":
                best = min(best, math.fsum(trunk.rtt for trunk in tried))
    assert (best < math.inf) == ("london" in reachable(whole, "ny"))
    if best < math.inf:
        way = path(whole, "ny-1", "london-1")
        assert way.rtt == pytest.approx(best + (1e-4 + 3e-4) / 2, rel=1e-12)
        assert way.rate == min(capacities(whole)[name] for name in way.links)
        assert len(set(way.links)) == len(way.trunks) + 2


def test_capacities_of_both_directions() -> None:
    found = capacities(fleet(DIRECT))
    assert found["ny-2 out"] == found["ny-2 in"] == GBIT / 2
    assert found["atlantic to ny"] == found["atlantic to london"] == GBIT / 10
    assert len(found) == 5 * 2 + 2


def test_a_connection_is_that_of_the_same_task() -> None:
    """Inside a network it is the preset of that rate and round trip, so that figures agree."""
    way = path(fleet(), "ny-2", "ny-1")
    assert link_of(way, Migrating()) == Link(rate=GBIT / 2, rtt=1e-4)
    given = Migrating(link_args={"congestion": "bbr", "streams": 2, "queue": "1MiB"})
    link = link_of(way, given, "10.0s+2.0s")
    assert link == Link(rate=GBIT / 2, rtt=1e-4, congestion="bbr", streams=2, queue="1MiB",
                        outages="10.0s+2.0s")  # fmt: skip
    task = Task(algorithm="precopy", workload="idle", link="custom",
                link_args=link_args_of(way, given, "10.0s+2.0s"))  # fmt: skip
    assert task.resolve().link == link


def test_a_switch_drops_what_a_port_holds_back() -> None:
    assert link_of(path(fleet(), "ny-2", "ny-1"), Migrating()).queue_is_local
    narrow = link_of(path(fleet(), "ny-1", "ny-2"), Migrating())
    assert not narrow.queue_is_local
    assert narrow.queue_bytes == 256 * 1024
    long = link_of(path(fleet(DIRECT), "ny-1", "london-1"), Migrating())
    assert long.queue_bytes == pytest.approx(long.rate * long.rtt, abs=1)


def test_outages_of_trunks_and_ports() -> None:
    failures = (
        Failure(at=10.0, kind="down", target="atlantic", lasts=2.0),
        Failure(at=11.0, kind="down", target="ny-1", lasts=4.0),
        Failure(at=30.0, kind="down", target="london-1"),
        Failure(at=20.0, kind="down", target="ny-2", lasts=1.0),
        Failure(at=5.0, kind="crash", target="ny-1"),
        Failure(at=6.0, kind="slow", target="ny-1"),
    )
    whole = fleet(DIRECT, failures=failures)
    way = path(whole, "ny-1", "london-1")
    assert outages_after(whole, way, 0.0) == "10.0s+5.0s,30.0s+inf"
    assert outages_after(whole, way, 12.5) == "0.0s+2.5s,17.5s+inf"
    assert outages_after(fleet(DIRECT), way, 0.0) is None
    assert link_of(way, Migrating(), outages_after(whole, way, 12.5)).schedule().rate_at(1.0) == 0


TIMES = st.floats(0, 1e6) | st.integers(0, 20).map(float)
FAILURES = st.lists(
    st.builds(
        Failure,
        at=TIMES,
        kind=st.just("down"),
        target=st.sampled_from(["atlantic", "ny-1", "ny-2"]),
        lasts=st.floats(1e-6, 1e6) | st.integers(1, 20).map(float) | st.just(math.inf),
    ),
    max_size=5,
)


@given(FAILURES, TIMES, st.floats(0, 1e6))
def test_a_way_is_down_when_a_part_of_it_is(
    failures: list[Failure], start: float, after: float
) -> None:
    whole = fleet(DIRECT, failures=tuple(failures))
    way = path(whole, "ny-1", "london-1")
    spans = parse_outages(outages_after(whole, way, start))
    ours = [failure for failure in failures if failure.target != "ny-2"]
    edges = {failure.at for failure in ours} | {failure.at + failure.lasts for failure in ours}
    if all(abs(start + after - edge) > 1e-6 for edge in edges):  # where rounding decides nothing
        down = any(f.at <= start + after < f.at + f.lasts for f in ours)
        assert any(begins <= after < ends for begins, ends in spans) == down
