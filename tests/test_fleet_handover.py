"""Where a guest runs after a failure: every phase, fault and policy, and thousands at random."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
from helpers import ENDING
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from migsim import InputError, Task
from migsim.fleet.fate import Ending, Fate, inject
from migsim.fleet.faults import Fault, Policy
from migsim.fleet.handover import Phase, Steps, after, steps_of
from migsim.registry import names
from migsim.simulate import execute
from migsim.task import ResolvedTask

# 10 ms one way, 50 ms to start the guest: the hand-over is long enough to look into.
STEPS = Steps(
    connected=0.02, paused=1.0, left=1.1, arrives=1.11, starts=1.16, answered=1.17, complete=1.16,
    one_way=0.01, load=0.05,
)  # fmt: skip
POSTCOPY = dataclasses.replace(STEPS, complete=2.0, lacking=100)
WITHIN: dict[Phase, float] = {
    "connecting": 0.01, "copying": 0.5, "paused": 1.05, "in flight": 1.105, "starting": 1.15,
    "unacknowledged": 1.165, "post-copy": 1.5, "done": 3.0,
}  # fmt: skip

S, D, BOTH, LOST, OPEN = "source", "destination", "both", "lost", "undecided"
# Fault, phase -> where the guest is under: wait, resume, fenced.
CRASHES: dict[tuple[str, Phase], tuple[str, str, str]] = {
    ("source crash", "connecting"): (LOST, LOST, LOST),
    ("source crash", "copying"): (LOST, LOST, LOST),
    ("source crash", "paused"): (LOST, LOST, LOST),
    ("source crash", "in flight"): (D, D, D),
    ("source crash", "starting"): (D, D, D),
    ("source crash", "unacknowledged"): (D, D, D),
    ("source crash", "done"): (D, D, D),
    ("destination crash", "connecting"): (S, S, S),
    ("destination crash", "copying"): (S, S, S),
    ("destination crash", "paused"): (S, S, S),
    ("destination crash", "in flight"): (OPEN, S, S),
    ("destination crash", "starting"): (OPEN, S, S),
    ("destination crash", "unacknowledged"): (LOST, LOST, LOST),
    ("destination crash", "done"): (LOST, LOST, LOST),
}


def said(runs_at: tuple[str, ...], lost: bool) -> str:
    if len(runs_at) == 2:
        return BOTH
    return runs_at[0] if runs_at else (LOST if lost else OPEN)


@pytest.mark.parametrize(("kind", "phase"), CRASHES)
def test_a_crash_in_each_phase(kind: Any, phase: Phase) -> None:
    at = WITHIN[phase]
    assert STEPS.phase_at(at) == phase
    for confirm, expected in zip(["wait", "resume", "fenced"], CRASHES[kind, phase], strict=True):
        policy = Policy(confirm=confirm)  # type: ignore[arg-type]
        where = after(STEPS, Fault(kind=kind, at=at), policy)
        assert said(where.runs_at, where.lost) == expected, where


@pytest.mark.parametrize("phase", ["in flight", "starting", "unacknowledged", "post-copy"])
def test_post_copy_needs_the_source_until_the_last_page(phase: Phase) -> None:
    assert POSTCOPY.phase_at(WITHIN[phase]) == phase
    for confirm in ("wait", "resume", "fenced"):
        policy = Policy(confirm=confirm)  # type: ignore[arg-type]
        fault = Fault(kind="source crash", at=WITHIN[phase])
        where = after(POSTCOPY, fault, policy, missing=100)
        assert (where.runs_at, where.lost) == ((), True)
        assert "100 pages or blocks of the guest were still at the source" in where.reason
        last = Fault(kind="source crash", at=1.995)  # the last page is under way
        assert after(POSTCOPY, last, policy, missing=1).runs_at == ("destination",)


def precopied(**task: Any) -> ResolvedTask:
    given_args = {
        "algorithm": "precopy", "workload": "uniform", "memory": "4MiB", "link": "custom",
        "link_args": {"rate": "1Gbit/s", "rtt": "20ms"}, "workload_args": {"rate": 2000},
        "vm_args": {"resume_seconds": "50ms"},
    }  # fmt: skip
    return Task(**{**given_args, **task}).resolve()


def moment(steps: Steps, name: str) -> float:
    """An instant in the middle of a phase of a real migration."""
    spans = {
        "connecting": (0.0, steps.connected), "copying": (steps.connected, steps.paused),
        "paused": (steps.paused, steps.left), "in flight": (steps.left, steps.arrives),
        "starting": (steps.arrives, steps.starts),
        "unacknowledged": (steps.starts, steps.answered),
        "post-copy": (steps.answered, steps.complete),
    }  # fmt: skip
    begins, ends = spans[name]
    return (begins + ends) / 2


# A link that stays down from some phase on: under wait, resume, fenced.
FOR_GOOD = {
    "connecting": (S, S, S), "copying": (S, S, S), "paused": (S, S, S),
    "in flight": (OPEN, S, S), "starting": (D, BOTH, D), "unacknowledged": (D, BOTH, D),
}  # fmt: skip


@pytest.mark.parametrize("phase", FOR_GOOD)
def test_a_link_that_goes_down_for_good_in_each_phase(phase: str) -> None:
    task = precopied()
    steps = steps_of(task, execute(task))
    for confirm, expected in zip(["wait", "resume", "fenced"], FOR_GOOD[phase], strict=True):
        fault = Fault(kind="link down", at=moment(steps, phase))
        fate = inject(task, fault, Policy(confirm=confirm))  # type: ignore[arg-type]
        assert fate.phase == phase
        assert said(fate.runs_at, fate.ending == "lost") == expected, fate


def test_a_short_outage_costs_time_and_no_guest() -> None:
    """A retransmission after 0.2 s finds the link up again; nobody loses patience."""
    task = precopied()
    calm = execute(task)
    for phase in FOR_GOOD:
        fault = Fault(kind="link down", at=moment(steps_of(task, calm), phase), lasts=0.1)
        for confirm in ("wait", "resume", "fenced"):
            fate = inject(task, fault, Policy(confirm=confirm))  # type: ignore[arg-type]
            assert (fate.runs_at, fate.ending) == (("destination",), "completed")
            assert fate.reason.endswith("the destination started it; the source knows")


def test_an_answer_that_comes_after_the_sources_patience() -> None:
    """Down for 10 s from when the device state is under way: it arrives, but after 5 s of
    patience; then the lock alone keeps the guest from running twice."""
    task = precopied()
    at = moment(steps_of(task, execute(task)), "in flight")
    fault = Fault(kind="link down", at=at, lasts=10.0)
    fates = {
        confirm: inject(task, fault, Policy(confirm=confirm, patience=5.0))  # type: ignore[arg-type]
        for confirm in ("wait", "resume", "fenced")
    }
    assert {name: fate.ending for name, fate in fates.items()} == {
        "wait": "completed", "resume": "twice", "fenced": "stayed",
    }  # fmt: skip
    assert "the destination came too late for the lock" in fates["fenced"].reason
    assert inject(task, fault, Policy(confirm="resume", patience=30.0)).ending == "completed"


def test_flaps_of_a_link_delay_the_answer_as_tcp_sends_it_again() -> None:
    """Attempts after 0, 0.22, 0.44, 0.88, 1.76, 3.52 s; the link is up for 50 ms each second."""
    task = precopied()
    steps = steps_of(task, execute(task))
    fault = Fault(kind="link down", at=steps.starts + 1e-6, lasts=0.95, times=4, up=0.05)
    args = {**task.link_args, "outages": ",".join(f"{b!r}s+0.95s" for b, _ in fault.outages)}
    broken = dataclasses.replace(task, link_args=args)
    late = steps_of(broken, execute(broken))
    assert late.starts == steps.starts
    assert late.answered - steps.starts == pytest.approx(0.22 + 0.22 * 15 + 0.22 + 3.3 + 0.01, 0.5)
    sent = late.answered - late.one_way
    assert not any(begins < late.answered and sent < ends for begins, ends in fault.outages)


def test_an_outage_in_post_copy_is_recovered_from_or_not() -> None:
    task = precopied(algorithm="postcopy", workload_args={"rate": 2000, "working_set": "100%"})
    calm = execute(task)
    at = moment(steps_of(task, calm), "post-copy")
    short = Fault(kind="link down", at=at, lasts=2.0)
    fate = inject(task, short)
    assert (fate.phase, fate.ending, fate.missing) == ("post-copy", "completed", 0)
    assert fate.result.stalled_seconds > calm.result.stalled_seconds + 1.0
    keepalive = Policy(postcopy="lose", broken_after=1.5)
    lost = inject(task, short, keepalive)
    assert (lost.ending, lost.runs_at) == ("lost", ())
    assert "the connection broke while the destination lacked pages" in lost.reason
    assert inject(task, short, Policy(postcopy="lose", broken_after=2.5)).ending == "completed"
    for_good = inject(task, Fault(kind="link down", at=at))
    assert (for_good.ending, for_good.result.status) == ("lost", "lost")
    assert 0 < for_good.missing < 1024
    assert f"{for_good.missing} pages missing at the destination" in for_good.reason


def test_a_migration_that_is_wrong_by_itself_is_not_called_completed() -> None:
    def forgets(migration: Any) -> None:
        migration.send(migration.everything)
        migration.pause()
        migration.resume()

    task = precopied(algorithm=forgets, workload_args={"rate": 50_000})
    for fault in (
        Fault(kind="link down", at=0.01, lasts=0.001),
        Fault(kind="source crash", at=1000.0),
    ):
        fate = inject(task, fault)
        assert (fate.ending, fate.runs_at) == ("lost", ())
        assert "stale pages were readable at the destination" in fate.reason


def test_a_guest_whose_migration_was_given_up_is_where_it_was() -> None:
    task = precopied(algorithm=lambda migration: migration.give_up("not today"))
    assert inject(task, Fault(kind="destination crash", at=9.0)).ending == "stayed"
    fate = inject(task, Fault(kind="source crash", at=9.0))
    assert (fate.phase, fate.ending) == ("given up", "lost")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fault(kind="fire", at=1.0), "kind is fire, expected source crash"),  # type: ignore[arg-type]
        (lambda: Fault(kind="link down", at=-1.0), r"at is -1\.0, expected 0 s or more"),
        (lambda: Fault(kind="link down", at=math.nan), "at is nan"),
        (lambda: Fault(kind="link down", at=math.inf), "at is inf"),
        (lambda: Fault(kind="link down", at=1.0, times=0), "times is 0, expected at least 1"),
        (lambda: Policy(confirm="hope"), "confirm is hope, expected wait, resume or fenced"),  # type: ignore[arg-type]
        (lambda: Policy(postcopy="hope"), "postcopy is hope, expected recover or lose"),  # type: ignore[arg-type]
        (lambda: Policy(patience=math.inf), "patience is inf, expected more than 0 s"),
        (
            lambda: after(STEPS, Fault(kind="link down", at=1.0), Policy(patience=0.07)),
            r"patience is 0\.07 s, expected more than the 0\.07 s",
        ),
    ],
)
def test_what_makes_no_sense_is_told(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


# ---- at random ---------------------------------------------------------------------------------

ALGORITHMS = names("algorithm")

TASKS = st.fixed_dictionaries(
    {
        "workload": st.sampled_from(["uniform", "hotcold", "idle", "sequential", "zipf"]),
        "link_args": st.fixed_dictionaries(
            {
                "rate": st.sampled_from(["100Mbit/s", "1Gbit/s", "10Gbit/s"]),
                "rtt": st.sampled_from([0.1, 0.0, 1e-4, 5e-3]),
            },
            optional={
                "loss": st.sampled_from([1e-3, 1e-2]),
                "outages": st.sampled_from(["20ms+50ms", "10ms+300ms,1s+2s", "50ms+inf"]),
            },
        ),
        "vm_args": st.fixed_dictionaries(
            {
                "memory": st.sampled_from(["512KiB", "2MiB"]),
                "resume_seconds": st.sampled_from([0.0, 0.01, 0.3]),
                "device_state": st.sampled_from([0, 10_000, 300_000]),
            },
            optional={"vcpus": st.integers(1, 3), "zero_fraction": st.sampled_from([0.3, 1.0])},
        ),
        "seed": st.integers(0, 1000),
        "writes": st.sampled_from([0, 500, 5000, 20_000]),
    }
)
FAULTS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["source crash", "destination crash", "link down"]),
        "lasts": st.sampled_from([math.inf, 5.0, 60.0, 2000.0, 1e-3, 0.02, 0.3]),
        "times": st.integers(1, 4),
        "up": st.sampled_from([1e-3, 0.05, 1.0]),
    }
)
WHERE = st.tuples(st.integers(0, 8), st.floats(0, 0.999))
POLICIES = st.builds(
    Policy,
    confirm=st.sampled_from(["wait", "resume", "fenced"]),
    patience=st.sampled_from([0.5, 30.0]),
    postcopy=st.sampled_from(["recover", "lose"]),
    broken_after=st.sampled_from([1.0, 30.0, 924.6]),
)


def check(fate: Fate, calm_corrupt: int) -> None:
    """What holds for every fate."""
    kind, confirm, places = fate.fault.kind, fate.policy.confirm, fate.runs_at
    assert fate.reason
    assert (len(places) == 1) == (fate.ending in {"completed", "stayed"})
    if not places:
        assert fate.ending in {"lost", "undecided"}
    if len(places) == 2:
        assert (fate.ending, confirm, kind) == ("twice", "resume", "link down")
    if fate.ending == "undecided":
        assert kind != "source crash"
        assert confirm == "wait"
    # Nothing runs at a host that is gone, and a guest that runs lacks nothing.
    assert kind.removesuffix(" crash") not in places
    if places == ("destination",):
        whole = fate.result.corrupt_pages if kind == "link down" else calm_corrupt
        assert whole == 0
        assert fate.result.status != "lost"
    before = fate.phase in {"connecting", "copying", "paused", "given up"}
    if kind == "source crash" and before:
        assert fate.ending == "lost"
    if kind == "destination crash" and before:
        assert fate.ending == "stayed"


def scenario(
    algorithm: str, task: dict[str, Any], where: tuple[int, float], fault: Any, policy: Any
) -> Fate:
    """Run one; ``where`` tells in which phase the fault happens, and how far into it."""
    rate = {} if task["workload"] == "idle" else {"workload_args": {"rate": task["writes"]}}
    described = {key: value for key, value in task.items() if key != "writes"}
    resolved = Task(
        algorithm=algorithm, link="custom", algorithm_args=ENDING.get(algorithm, {}),
        limit_seconds=5000.0, **described, **rate,
    ).resolve()  # fmt: skip
    calm = execute(resolved)
    steps = steps_of(resolved, calm)
    borders = [
        0.0, steps.connected, steps.paused, steps.left, steps.arrives, steps.starts,
        steps.answered, steps.complete,
    ]  # fmt: skip
    known = sorted(border for border in borders if border < math.inf)
    known.append(max(calm.result.total_seconds, known[-1]) + 1.0)
    phase = min(where[0], len(known) - 2)
    at = known[phase] + where[1] * (known[phase + 1] - known[phase])
    fate = inject(resolved, Fault(at=at, **fault), policy)
    check(fate, calm.result.corrupt_pages)
    return fate


def at_random(algorithm: str, examples: int) -> set[tuple[Phase, str]]:
    """Run so many scenarios of an algorithm; return the phases hit, and what came of it."""
    seen = set()

    @seed(ALGORITHMS.index(algorithm))  # other scenarios for each, and the same ones every time
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(task=TASKS, where=WHERE, fault=FAULTS, policy=POLICIES)
    def run(task: dict[str, Any], where: tuple[int, float], fault: Any, policy: Any) -> None:
        fate = scenario(algorithm, task, where, fault, policy)
        seen.add((fate.phase, fate.ending))

    run()
    return seen


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_guest_runs_twice_or_nowhere_unreported(algorithm: str) -> None:
    seen = at_random(algorithm, -(-300 // len(ALGORITHMS)))
    assert len({ending for _, ending in seen}) >= 2  # `check` has looked at each


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_guest_runs_twice_or_nowhere_unreported_in_10000_scenarios(algorithm: str) -> None:
    seen = at_random(algorithm, -(-10_000 // len(ALGORITHMS)))
    assert {ending for _, ending in seen} >= set(get_args(Ending)) - {"twice"}
    known = {"copying", "post-copy", "given up"}  # not every algorithm has those
    assert {phase for phase, _ in seen} >= set(get_args(Phase)) - known


@pytest.mark.parametrize("at", [0.2, 0.7])
def test_blocks_that_were_still_at_the_source_are_missed(at: float) -> None:
    """Post-copy of a disk: memory is there, the guest runs; blocks follow up to 0.7157 s."""
    task = Task(
        algorithm="storage_postcopy", workload="idle", link="gigabit", memory="16MiB",
        disk_args={"size": "64MiB"},
    ).resolve()  # fmt: skip
    fate = inject(task, Fault(kind="source crash", at=at))
    assert (fate.phase, fate.ending) == ("post-copy", "lost")
    assert 0 < fate.missing == fate.result.corrupt_blocks
    assert inject(task, Fault(kind="source crash", at=0.72)).ending == "completed"
