"""A fleet in virtual time: limits, retries, faults, jobs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.fleet.manager import Manager, Minutes
from migsim.fleet.model import (
    Balance,
    Evacuate,
    Failure,
    Fleet,
    Host,
    Migrating,
    Move,
    Network,
    Rule,
    Vm,
)
from migsim.fleet.plan import plan_fleet
from migsim.fleet.plan_words import hindrance
from migsim.fleet.requests import Request
from migsim.fleet.running import FleetOutcome, run_fleet
from migsim.fleet.state import replay
from migsim.fleet.topology import link_args_of, path
from migsim.registry import names
from migsim.simulate import run
from migsim.task import Task
from migsim.units import GIB, MIB

NETWORK = Network(name="lan", rate=125e6, rtt=2e-4)
BUSY = {"workload": "hotcold", "workload_args": {"rate": "2MB/s", "working_set": "2MiB"}}


def host(name: str, **changes: Any) -> Host:
    given: dict[str, Any] = {"network": "lan", "cores": 16.0, "memory": GIB}
    return Host(name=name, **{**given, **changes})


def vm(name: str, at: str = "a", **changes: Any) -> Vm:
    return Vm(name=name, host=at, **{"memory": 16 * MIB, **BUSY, **changes})


def fleet(*vms: Vm, hosts: str = "abc", **changes: Any) -> Fleet:
    listed = [one if isinstance(one, Host) else host(one) for one in changes.pop("given", hosts)]
    return Fleet(
        name="test",
        networks={"lan": NETWORK},
        hosts={one.name: one for one in listed},
        vms={one.name: one for one in vms},
        **changes,
    )


def wanting(where: Fleet, *requests: Request, **options: Any) -> Manager:
    manager = Manager(where, **options)
    manager.want(*requests)
    manager.run()
    return manager


def endings(outcome: FleetOutcome | Manager) -> dict[str, str]:
    return {attempt.vm: attempt.ending for attempt in outcome.attempts}


def test_one_alone_gives_the_numbers_of_migrate() -> None:
    where = fleet(vm("v"), jobs=(Move(vm="v", to="b"),))
    outcome = run_fleet(where)
    link = link_args_of(path(where, "a", "b"), where.migrating)
    task = Task(
        algorithm="precopy", memory=16 * MIB, link="custom", link_args=link, vm_args={"vcpus": 1},
        **{"workload": BUSY["workload"], "workload_args": BUSY["workload_args"]},
    )  # fmt: skip
    assert outcome.attempts[0].result == run(task)
    assert outcome.attempts[0].key == task.key
    assert outcome.state.runs_at["v"] == ("b",)


def test_guests_grow_older_while_they_wait() -> None:
    """The same guest that leaves later is met in another phase of what it does."""
    phases = {"workload": "phases", "workload_args": {"schedule": "10s idle; 10s uniform(rate=2k)"}}
    early, late = (
        run_fleet(fleet(vm("v", **phases), jobs=(Move(vm="v", to="b", at=at),)))
        for at in (0.0, 12.0)
    )
    assert late.attempts[0].started == 12.0
    assert late.attempts[0].result.pages_sent > early.attempts[0].result.pages_sent


def test_a_gang_sends_what_its_machines_have_in_common_once() -> None:
    """Those that go to one host, while they are under way together; others as ever."""
    image = {"workload": "idle", "workload_args": {"image": "8MiB", "duplicate_fraction": 0.0}}
    way = {"algorithm": "dedup", "gang": True}
    vms = [vm(f"v{k}", **image, seed=k) for k in range(4)]
    goals = {"v0": ("b", 0.0), "v1": ("b", 0.0), "v2": ("c", 0.0), "v3": ("b", 60.0)}
    jobs = tuple(Move(vm=name, to=to, at=at) for name, (to, at) in goals.items())
    apart, together = (
        run_fleet(fleet(*vms, jobs=jobs, migrating=Migrating(**{**way, "gang": gang})))
        for gang in (False, True)
    )
    encoded = {attempt.vm: attempt.result.encoded_pages for attempt in together.attempts}
    before = {attempt.vm: attempt.result.encoded_pages for attempt in apart.attempts}
    assert encoded["v0"] + encoded["v1"] > 0.9 * 2048
    assert set(before.values()) == {0}
    assert (encoded["v2"], encoded["v3"]) == (0, 0)
    assert sum(together.carried.values()) < sum(apart.carried.values()) - 0.9 * 8 * MIB
    assert not together.breaches()


def test_limits_of_hosts_and_jobs_hold() -> None:
    vms = [vm(f"v{k}") for k in range(6)]
    requests = [Request(vm=one.name, to="b", job="j") for one in vms]
    for most, concurrency, expected in ((2, None, 2), (4, 1, 1), (8, 3, 3)):
        where = fleet(*vms, given=[host("a", most_migrations=most), "b"])
        limits = {} if concurrency is None else {"j": concurrency}
        manager = wanting(where, *requests, concurrency=limits)
        spans = [(attempt.started, attempt.ended) for attempt in manager.attempts]
        together = max(sum(begin <= instant < end for begin, end in spans) for instant, _ in spans)
        assert len(spans) == 6
        assert together == expected


def test_memory_is_held_at_both_hosts_while_a_machine_moves() -> None:
    """Two machines of 600 MiB swap hosts of 1 GiB: neither fits beside the other."""
    big = 600 * MIB
    where = fleet(vm("v", "a", memory=big), vm("w", "b", memory=big), hosts="ab")
    manager = wanting(where, Request(vm="v", to="b"), Request(vm="w", to="a"))
    assert manager.attempts == []
    assert [reason for _, reason in manager.cancelled] == [
        "b has no room for its memory", "a has no room for its memory",
    ]  # fmt: skip


def test_rules_hold_while_machines_move() -> None:
    where = fleet(
        vm("v"), vm("w", "b"), rules=(Rule(kind="apart", vms=("v", "w"), name="pair"),),
        jobs=(Move(vm="v", to="b"), Move(vm="w", to="c", at=1.0)),
    )  # fmt: skip
    outcome = run_fleet(where)
    assert outcome.state.runs_at == {"v": ("b",), "w": ("c",)}
    first, second = outcome.attempts
    assert (first.vm, second.vm) == ("w", "v")  # v waits until w is gone
    assert second.started >= first.ended


def test_what_does_not_start_in_its_window_is_cancelled_with_the_reason() -> None:
    where = fleet(
        vm("v", memory=600 * MIB), vm("w", "b", memory=600 * MIB), hosts="ab",
        jobs=(Move(vm="v", to="b", at=5.0, until=9.0),),
    )  # fmt: skip
    outcome = run_fleet(where)
    assert [(request.vm, reason) for request, reason in outcome.cancelled] == [
        ("v", "its window closes: b has no room for its memory")
    ]


def test_conditions_cancel_a_move_that_would_cost_too_much() -> None:
    heavy = {"workload": "uniform", "workload_args": {"rate": "200MB/s"}}
    where = fleet(
        vm("v", **heavy), vm("w"),
        jobs=(
            Move(vm="v", to="b", most_downtime=0.01), Move(vm="w", to="b", most_seconds=10.0),
        ),
    )  # fmt: skip
    outcome = run_fleet(where)
    assert endings(outcome) == {"w": "completed"}
    [(_, reason)] = outcome.cancelled
    assert reason.startswith("predicted downtime ")


def test_a_migration_that_fails_is_tried_again_later_each_time() -> None:
    """The link is down for an hour: connecting fails after some minutes, then succeeds."""
    where = fleet(
        vm("v"), jobs=(Move(vm="v", to="b"),), migrating=Migrating(retries=20, backoff=10.0),
        failures=(Failure(at=0.0, kind="down", target="b", lasts=3600.0),),
    )  # fmt: skip
    outcome = run_fleet(where)
    *failed, last = outcome.attempts
    assert {attempt.ending for attempt in failed} == {"stayed"}
    assert last.ending == "completed"
    waits = [b.wanted - a.ended for a, b in zip(failed, outcome.attempts[1:], strict=True)]
    assert waits == pytest.approx([10.0 * 2**k for k in range(len(waits))], abs=0.02)
    assert outcome.state.runs_at["v"] == ("b",)


def test_after_the_last_retry_the_machine_stays() -> None:
    where = fleet(
        vm("v"), jobs=(Move(vm="v", to="b"),), migrating=Migrating(retries=1, backoff=1.0),
        failures=(Failure(at=0.0, kind="down", target="b"),),
    )  # fmt: skip
    outcome = run_fleet(where)
    assert [attempt.ending for attempt in outcome.attempts] == ["stayed", "stayed"]
    assert [reason for _, reason in outcome.cancelled] == ["it has failed 2 times"]
    assert outcome.state.runs_at["v"] == ("a",)


@pytest.mark.parametrize("target", ["a", "b"])
def test_a_crash_takes_what_is_on_the_host(target: str) -> None:
    """Pre-copy's guest is at the source until the end; of post-copy's, part is at both."""
    jobs = (Move(vm="pre", to="b"), Move(vm="post", to="b"))
    failures = (Failure(at=0.2, kind="crash", target=target),)
    vms = (vm("pre"), vm("post", algorithm="postcopy"), vm("other"), vm("far", "c"))
    outcome = run_fleet(fleet(*vms, jobs=jobs, failures=failures))
    assert endings(outcome) == {
        "pre": "lost" if target == "a" else "stayed", "post": "lost",
    }  # fmt: skip
    runs = {name: hosts for name, hosts in outcome.state.runs_at.items() if hosts}
    assert runs == ({"far": ("c",)} if target == "a" else {
        "pre": ("a",), "other": ("a",), "far": ("c",)
    })  # fmt: skip
    assert set(outcome.state.astray) == set(outcome.state.runs_at) - set(runs)
    for attempt in outcome.attempts:  # the page that was leaving is let go
        assert attempt.ended == pytest.approx(0.2, abs=1e-4)


def test_an_evacuation_empties_the_host_and_keeps_the_rules() -> None:
    vms = [vm(f"v{k}", memory=(8 + 8 * (k % 3)) * MIB, seed=k) for k in range(7)]
    apart = Rule(kind="apart", vms=("v0", "v1"))
    never = Rule(kind="never", vms=("v2",), hosts=("b",))
    minutes = Minutes()
    outcome = run_fleet(
        fleet(*vms, rules=(never, dataclasses.replace(apart, vms=("v0",))),
              jobs=(Evacuate(host="a"),)),
        minutes,
    )  # fmt: skip
    assert set(endings(outcome).values()) == {"completed"}
    assert not [name for name, hosts in outcome.state.runs_at.items() if "a" in hosts]
    assert outcome.state.runs_at["v2"] == ("c",)
    [decided] = [entry for entry in minutes.entries if entry.kind == "decided"]
    # What was planned by simulation is what happens, where nothing breaks.
    assert outcome.seconds == decided.details["expected_seconds"]
    assert decided.details["staying"] == 0


@pytest.mark.parametrize("minimise", ["time", "downtime", "traffic"])
def test_the_best_plan_is_no_worse_than_the_simple_ones(minimise: Any) -> None:
    vms = [vm(f"v{k}", memory=(8 + 8 * (k % 3)) * MIB, seed=k) for k in range(6)]

    def cost(order: Any) -> float:
        job = Evacuate(host="a", order=order, minimise=minimise)
        outcome = run_fleet(fleet(*vms, jobs=(job,)))
        return {
            "time": outcome.seconds,
            "downtime": math.fsum(one.result.downtime_seconds for one in outcome.attempts),
            "traffic": float(sum(one.result.bytes_sent for one in outcome.attempts)),
        }[minimise]

    best = cost("best")
    for order in ("listed", "smallest", "largest"):
        assert best <= cost(order) * (1 + 1e-12)


def test_what_has_not_left_at_the_deadline_is_lost_and_said_so() -> None:
    vms = [vm(f"v{k}", memory=64 * MIB, seed=k) for k in range(4)]
    job = Evacuate(host="a", order="listed", concurrency=1, deadline=1.5)
    outcome = run_fleet(fleet(*vms, jobs=(job,)))
    saved = [one.vm for one in outcome.attempts if one.ending == "completed"]
    assert saved == ["v0", "v1"]
    assert {name for name, hosts in outcome.state.runs_at.items() if not hosts} == {"v2", "v3"}
    assert set(outcome.state.astray) == {"v2", "v3"}


def test_a_balance_moves_machines_from_where_cores_are_short() -> None:
    vms = [vm(f"v{k}", cpu=4.0, seed=k) for k in range(8)]
    outcome = run_fleet(fleet(*vms, jobs=(Balance(at=1.0),)))
    demand = {name: 4.0 * sum(name in hosts for hosts in outcome.state.runs_at.values())
              for name in "abc"}  # fmt: skip
    assert max(demand.values()) <= 16.0
    assert set(endings(outcome).values()) == {"completed"}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_breaks_nobody_is_astray_without_a_reason(data: st.DataObject) -> None:
    """Every algorithm, any crash, outage or slow host: the record replays into the state."""
    algorithms = names("algorithm")
    vms = [
        vm(f"v{k}", memory=4 * MIB, seed=k, algorithm=data.draw(st.sampled_from(algorithms)))
        for k in range(4)
    ]
    failures = tuple(
        Failure(
            at=data.draw(st.floats(0, 0.4)),
            kind=data.draw(st.sampled_from(["crash", "down", "slow"])),
            target=data.draw(st.sampled_from("abc")),
            lasts=data.draw(st.sampled_from([0.01, 0.3, 30.0, math.inf])),
        )
        for _ in range(data.draw(st.integers(0, 3)))
    )
    migrating = Migrating(
        retries=1, backoff=0.5, limit_seconds=60.0,
        confirm=data.draw(st.sampled_from(["wait", "resume", "fenced"])),
    )  # fmt: skip
    jobs = tuple(Move(vm=one.name, to=data.draw(st.sampled_from("bc"))) for one in vms)
    minutes = Minutes()
    outcome = run_fleet(fleet(*vms, jobs=jobs, failures=failures, migrating=migrating), minutes)
    assert outcome.breaches() == []
    assert replay(minutes.entries) == outcome.state
    for name, hosts in outcome.state.runs_at.items():
        assert len(hosts) == 1 or outcome.state.astray[name]
        if migrating.confirm != "resume":
            assert len(hosts) < 2
    told = {request.vm for request, _ in outcome.cancelled}
    done = {one.vm for one in outcome.attempts if one.ending == "completed"}
    gone = set(outcome.state.astray)
    assert told | done | gone == {one.name for one in vms}


def test_a_disk_is_copied_unless_both_hosts_reach_its_datastore() -> None:
    disk = {"size": "64MiB", "workload": "uniform(rate=1MB/s)"}
    hosts = [host("a", storage=("san",)), host("b", storage=("san",)), host("c")]
    for store, to, copied in (("san", "b", False), ("san", "c", True), (None, "b", True)):
        one = vm("v", disk_args=disk, datastore=store, algorithm="storage_mirror")
        outcome = run_fleet(fleet(one, given=hosts, jobs=(Move(vm="v", to=to),)))
        assert endings(outcome) == {"v": "completed"}
        assert (outcome.attempts[0].result.sent_disk > 0) == copied


def test_who_forgets_the_disk_loses_the_machine_and_it_is_said() -> None:
    one = vm("v", disk_args={"size": "64MiB"})
    outcome = run_fleet(fleet(one, jobs=(Move(vm="v", to="b"),)))
    assert endings(outcome) == {"v": "lost"}
    assert "blocks" in outcome.state.astray["v"]


@pytest.mark.parametrize("at", [0.0005, 0.5, 2.0, 5.0])
def test_a_crash_in_the_hand_over_is_judged_by_what_had_left(at: float) -> None:
    """Device state of 64 MiB takes half a second: before its end the source has the guest."""
    one = vm("v", workload="idle", workload_args={}, vm_args={
        "device_state": "64MiB", "resume_seconds": 4.0,
    }, algorithm="stop_and_copy")  # fmt: skip
    calm = run_fleet(fleet(one, jobs=(Move(vm="v", to="b"),))).attempts[0].result
    left = calm.total_seconds - 4.0 - 1e-4
    crash = Failure(at=at, kind="crash", target="a")
    outcome = run_fleet(fleet(one, jobs=(Move(vm="v", to="b"),), failures=(crash,)))
    safe = at > left
    assert endings(outcome) == {"v": "completed" if safe else "lost"}
    assert outcome.state.runs_at["v"] == (("b",) if safe else ())


def test_a_forecast_does_not_know_what_will_break() -> None:
    """The line is down for ten minutes: the move is tried, and tried again, not cancelled."""
    where = fleet(
        vm("v"), jobs=(Move(vm="v", to="b", most_downtime=1.0),),
        migrating=Migrating(retries=20, backoff=10.0),
        failures=(Failure(at=0.0, kind="down", target="b", lasts=600.0),),
    )  # fmt: skip
    outcome = run_fleet(where)
    assert outcome.cancelled == ()
    assert outcome.attempts[-1].ending == "completed"


def test_when_both_hosts_crash_at_once_the_run_goes_on_and_says_so() -> None:
    crashes = tuple(Failure(at=0.05, kind="crash", target=name) for name in "ba")
    outcome = run_fleet(fleet(vm("v"), jobs=(Move(vm="v", to="b"),), failures=crashes))
    assert endings(outcome) == {"v": "lost"}
    assert outcome.attempts[0].reason.endswith("a is down")
    assert outcome.state.runs_at["v"] == ()


def test_a_host_is_down_as_long_as_one_of_its_crashes_lasts() -> None:
    minutes = Minutes()
    crashes = (
        Failure(at=1.0, kind="crash", target="b", lasts=10.0),
        Failure(at=3.0, kind="crash", target="b", lasts=3.0),
    )
    run_fleet(fleet(vm("v"), failures=crashes), minutes)
    assert [one.at for one in minutes.entries if one.kind == "recovered"] == [11.0]


def test_a_step_whose_machine_is_lost_meanwhile_is_cancelled() -> None:
    where = fleet(vm("v"), failures=(Failure(at=1.0, kind="crash", target="a"),))
    manager = wanting(where, Request(vm="v", source="b", to="c"))
    assert [reason for _, reason in manager.cancelled] == ["v does not run"]


def test_retries_without_a_wait_do_not_overflow() -> None:
    hopeless = Migrating(limit_seconds=0.001, retries=1100, backoff=0.0)
    outcome = run_fleet(fleet(vm("v"), jobs=(Move(vm="v", to="b"),), migrating=hopeless))
    assert len(outcome.attempts) == 1101


def test_a_balance_among_some_hosts_leaves_the_others_alone() -> None:
    """Host c is the emptiest by far, but is not asked for; it keeps its machine."""
    vms = [vm(f"v{k}", cpu=4.0) for k in range(8)]
    given = [host("a"), host("b"), host("c", cores=64.0)]
    outcome = run_fleet(fleet(*vms, vm("w", "c"), given=given, jobs=(Balance(hosts=("a", "b")),)))
    assert {attempt.destination for attempt in outcome.attempts} == {"b"}
    assert outcome.state.runs_at["w"] == ("c",)


@pytest.mark.parametrize("job", [Evacuate(host="a", at=1.0, to=("b", "c")), Balance(at=1.0)])
def test_rules_and_jobs_may_name_a_host_that_is_down(job: Evacuate | Balance) -> None:
    minutes = Minutes()
    rule = Rule(kind="never", vms=("v",), hosts=("c",))
    crash = Failure(at=0.5, kind="crash", target="c")
    where = fleet(
        vm("v", cpu=14.0), vm("w", cpu=14.0), rules=(rule,), failures=(crash,), jobs=(job,)
    )
    run_fleet(where, minutes)
    decided = [one.details for one in minutes.entries if one.kind == "decided"]
    assert [one.get("reason", one.get("placement")) for one in decided] == [None]


def test_an_outage_after_the_end_is_no_reason() -> None:
    late = Failure(at=100.0, kind="down", target="b")
    outcome = run_fleet(fleet(vm("v"), jobs=(Move(vm="v", to="b"),), failures=(late,)))
    assert (endings(outcome), outcome.attempts[0].reason) == ({"v": "completed"}, "")


def test_a_plan_tells_who_would_be_lost() -> None:
    """Plain pre-copy forgets the disk."""
    one = vm("v", disk_args={"size": "1MiB"})
    jobs = (Move(vm="v", to="b"), Evacuate(host="a"))
    move, evacuation = plan_fleet(fleet(one, jobs=jobs))
    assert "stale blocks" in hindrance(move)
    assert hindrance(evacuation) == "1 of 1 machines would not get to another host"


def test_who_starts_because_another_has_ended_elsewhere_gets_its_share() -> None:
    """Until b goes, a shares nothing with anybody; then c, which waited for b, takes half of it."""
    vms = [vm("a", "a", memory=64 * MIB), vm("b", "c"), vm("c", "a", memory=64 * MIB)]
    given = ["a", "b", "c", host("d", most_migrations=1)]
    moves = tuple(Move(vm=name, to=to) for name, to in (("a", "b"), ("b", "d"), ("c", "d")))
    outcome = run_fleet(fleet(*vms, given=given, jobs=moves))
    assert [attempt.vm for attempt in outcome.attempts] == ["b", "a", "c"]
    first, second = (attempt for attempt in outcome.attempts if attempt.vm != "b")
    assert first.ended > second.started
    assert outcome.carried["a out"] < 1.01 * NETWORK.rate * second.ended


def test_a_retry_chooses_its_host_anew_where_none_was_named() -> None:
    crash = Failure(at=0.05, kind="crash", target="b")
    given = ["a", host("b", memory=2 * GIB), "c"]  # b has the most room
    where = fleet(vm("v"), given=given, failures=(crash,), migrating=Migrating(retries=1))
    manager = wanting(where, Request(vm="v"))
    assert [attempt.destination for attempt in manager.attempts] == ["b", "c"]
    assert manager.state.runs_at["v"] == ("c",)


def test_an_evacuee_goes_elsewhere_if_its_new_host_is_down() -> None:
    """The plan does not foresee that b crashes; who was to go there goes to c."""
    vms = [vm(f"v{k}", memory=64 * MIB, seed=k) for k in range(6)]
    crash = Failure(at=0.5, kind="crash", target="b")
    job = Evacuate(host="a", order="listed", concurrency=1)
    outcome = run_fleet(fleet(*vms, jobs=(job,), failures=(crash,), migrating=Migrating(retries=1)))
    alive = {name: hosts for name, hosts in outcome.state.runs_at.items() if hosts}
    assert set(alive.values()) == {("c",)}
    assert len(alive) >= 5
