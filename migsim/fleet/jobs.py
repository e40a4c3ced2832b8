"""What is wanted of a fleet, turned into migrations: moves, evacuations, balancing."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from migsim.errors import InputError
from migsim.fleet.evacuation import name_of, plan_evacuation
from migsim.fleet.forecast import Forecast
from migsim.fleet.manager import Manager
from migsim.fleet.model import Balance, Evacuate, Failure, Fleet, Job, Move, Rule, Vm
from migsim.fleet.placement import Placement, Problem, place, place_evacuees, sequence
from migsim.fleet.positions import Positions
from migsim.fleet.requests import Request

__all__ = ["evacuees", "plan_balance", "schedule", "with_deadlines"]


def with_deadlines(fleet: Fleet) -> Fleet:
    """Return ``fleet`` with hosts going down at the deadlines of their evacuations."""
    falls = tuple(
        Failure(at=job.deadline, kind="crash", target=job.host)
        for job in fleet.jobs
        if isinstance(job, Evacuate) and job.deadline < math.inf
    )
    return dataclasses.replace(fleet, failures=(*fleet.failures, *falls))


def schedule(manager: Manager) -> None:
    """Let ``manager`` do the jobs of its fleet, each at its time: nobody has to be there."""
    for job in manager.fleet.jobs:
        manager.call_at(max(job.at, manager.now), functools.partial(_start, manager, job))


def _start(manager: Manager, job: Job) -> None:
    if isinstance(job, Move):
        _move(manager, job)
    elif isinstance(job, Evacuate):
        _evacuate(manager, job)
    else:
        _balance(manager, job)


def _move(manager: Manager, job: Move) -> None:
    manager.record("decided", job.vm, what="move", to=job.to, until=job.until)
    manager.want(
        Request(
            vm=job.vm, to=job.to, job=f"move {job.vm}", not_before=manager.now, until=job.until,
            most_downtime=job.most_downtime, most_seconds=job.most_seconds,
        )
    )  # fmt: skip


def _evacuate(manager: Manager, job: Evacuate) -> None:
    """Plan and start an evacuation; a machine for which there is no place stays."""
    try:
        to = evacuees(manager.fleet, manager.positions, job)
    except InputError as error:
        to = {}  # hosts are chosen one by one, as far as they have room
        manager.record("decided", job.host, what="evacuate", placement=str(error))
    best, *others = plan_evacuation(manager.fleet, manager.positions, job, to)
    manager.record(
        "decided", job.host, what="evacuate", order=best.order, concurrency=best.concurrency,
        machines=len(best.requests), tried=len(others) + 1, expected_seconds=best.seconds,
        expected_downtime=best.downtime, expected_traffic=best.traffic, staying=best.staying,
    )  # fmt: skip
    manager.concurrency[name_of(job)] = best.concurrency
    manager.want(*best.requests)


def evacuees(fleet: Fleet, positions: Positions, job: Evacuate) -> dict[str, str]:
    """Return where each machine of a host goes. Raises `InputError` where there is no way."""
    up = positions.state.up
    if job.host not in up:
        return {}  # nothing runs there
    to = tuple(name for name in job.to if name in up)
    if job.to and not to:
        raise InputError(f"evacuation: {', '.join(job.to)}: all down, expected one that works")
    problem = _problem(fleet, positions, np.zeros(len(_running(fleet, positions))))
    placement = place_evacuees(problem, job.host, to=to)
    return {name: placement.hosts[name] for name in placement.moves}


def _running(fleet: Fleet, positions: Positions) -> list[Vm]:
    """Return the machines that run on one host, each with that host as its own."""
    found = []
    for name, vm in fleet.vms.items():
        host = positions.host_of(name)
        if host:
            found.append(dataclasses.replace(vm, host=host))
    return found


def _problem(
    fleet: Fleet, positions: Positions, costs: np.ndarray, job: Balance | None = None
) -> Problem:
    """Return the problem of where machines should run; what is down takes none."""
    among = set(job.hosts) if job is not None and job.hosts else set(fleet.hosts)
    outside = {name for name in fleet.hosts if name not in among}
    vms = _running(fleet, positions)
    names = {vm.name for vm in vms}
    hosts = list(fleet.hosts.values())
    down = {host.name for host in hosts if host.name not in positions.state.up}
    rules = [
        dataclasses.replace(
            rule,
            vms=tuple(name for name in rule.vms if name in names),
            hosts=tuple(name for name in rule.hosts if name not in down),
        )
        for rule in fleet.rules
    ]
    pinned = {vm.name for vm in vms if vm.host in outside}
    # Outside hosts that keep machines are no closed ones, but the others must not go there.
    kept = sorted({vm.host for vm in vms if vm.host in outside})
    free = tuple(vm.name for vm in vms if vm.name not in pinned)
    if kept and free:
        rules.append(Rule(kind="never", vms=free, hosts=tuple(kept), name="hosts of the balance"))
    pinned |= {name for name in positions.state.under_way if name in names}
    return Problem(
        hosts=[host for host in hosts if host.name not in down],
        vms=vms,
        costs=costs,
        rules=[rule for rule in rules if rule.vms],
        horizon=3600.0 if job is None else job.horizon,
        most_moves=None if job is None else job.most_moves,
        closed=frozenset(outside - down - set(kept)),
        pinned=frozenset(pinned),
    )


def plan_balance(
    fleet: Fleet, positions: Positions, job: Balance, forecast: Forecast
) -> tuple[Placement, Problem]:
    """Return the placement that a balance aims at, and the problem that it solves.

    What a migration costs is what its guest loses: the seconds of downtime, stalls and throttling
    that migsim predicts of it, times the cores that it uses. Machines of one kind that use the same
    way are predicted once.
    """
    vms = _running(fleet, positions)
    costs = np.array([_cost(fleet, vm, job, forecast) for vm in vms])
    problem = _problem(fleet, positions, costs, job)
    return place(problem, gap=job.gap), problem


def _cost(fleet: Fleet, vm: Vm, job: Balance, forecast: Forecast) -> float:
    """Return the core-seconds that a guest loses by migrating to another host, as predicted."""
    others = [name for name in job.hosts or fleet.hosts if name != vm.host]
    if not others:
        return 0.0
    expected = forecast.of_kind(vm, vm.host, others[0])
    return (expected.total_seconds - expected.guest_seconds) * vm.cpu


def _balance(manager: Manager, job: Balance) -> None:
    """Find a better placement and start the migrations that lead to it."""
    try:
        placement, problem = plan_balance(manager.fleet, manager.positions, job, manager.forecast)
    except InputError as error:
        manager.record("decided", "balance", what="nothing", reason=str(error))
        return
    order = sequence(problem, placement.hosts)
    manager.record(
        "decided", "balance", what="balance", moves=len(placement.moves),
        objective=placement.objective, before=placement.before, bound=placement.bound,
        gap=placement.gap, given_up=", ".join(order.given_up),
    )  # fmt: skip
    manager.want(
        *(
            Request(
                vm=step.vm, source=step.source, to=step.destination, job="balance",
                not_before=manager.now,
            )
            for step in order.steps
        )
    )  # fmt: skip
