"""What would be done with a fleet, job by job, without doing it.

Jobs are planned in order of their time, each from where the ones before it leave the machines if
all goes well; what is under way between them, retries and faults are left to `run_fleet`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeAlias

from migsim.errors import InputError
from migsim.fleet.evacuation import Candidate, plan_evacuation
from migsim.fleet.forecast import Forecast
from migsim.fleet.jobs import evacuees, plan_balance
from migsim.fleet.manager import Manager
from migsim.fleet.model import Balance, Evacuate, Fleet, Job, Move
from migsim.fleet.placement import Order, Placement, sequence
from migsim.fleet.positions import Positions
from migsim.fleet.requests import Request
from migsim.fleet.state import State
from migsim.result import Result

__all__ = ["BalancePlan", "EvacuationPlan", "JobPlan", "MovePlan", "plan_fleet"]


@dataclass(frozen=True)
class EvacuationPlan:
    """How a host is to be emptied.

    Attributes:
        job: what is wanted.
        candidates: ways to do it, the best first.
        to: the destination of each machine, as far as they are known before it starts.
        problem: why not all destinations are; "" if they are.
    """

    job: Evacuate
    candidates: tuple[Candidate, ...]
    to: dict[str, str]
    problem: str


@dataclass(frozen=True)
class BalancePlan:
    """How hosts are to be balanced.

    Attributes:
        job: what is wanted.
        placement: that it aims at; None if there is none.
        order: of the moves.
        problem: why there is no placement; "" if there is one.
    """

    job: Balance
    placement: Placement | None
    order: Order
    problem: str


@dataclass(frozen=True)
class MovePlan:
    """How a machine is to be moved.

    Attributes:
        job: what is wanted.
        source: where it runs.
        expected: what its migration comes to, alone on its way, with the outages that are known;
            None if it cannot start.
        objection: why it would not be started; "" if it would.
    """

    job: Move
    source: str
    expected: Result | None
    objection: str


JobPlan: TypeAlias = EvacuationPlan | BalancePlan | MovePlan


def plan_fleet(fleet: Fleet) -> list[JobPlan]:
    """Return the plans of all jobs in order of time. Raises `InputError` as `run_fleet`."""
    calm = dataclasses.replace(fleet, failures=(), jobs=())
    state, forecast, plans = Manager(calm).state, Forecast(fleet), list[JobPlan]()
    for job in sorted(fleet.jobs, key=lambda one: one.at):  # of one time, as in the file
        state = dataclasses.replace(state, at=job.at)
        plan = _plan(fleet, Positions(fleet, state), job, forecast)
        plans.append(plan)
        state = dataclasses.replace(state, runs_at=_after(state, plan))
    return plans


def _plan(fleet: Fleet, positions: Positions, job: Job, forecast: Forecast) -> JobPlan:
    if isinstance(job, Move):
        return _plan_move(fleet, positions, job, forecast)
    if isinstance(job, Balance):
        try:
            placement, problem = plan_balance(fleet, positions, job, forecast)
        except InputError as error:
            return BalancePlan(job, None, Order(steps=(), given_up=()), str(error))
        return BalancePlan(job, placement, sequence(problem, placement.hosts), "")
    try:
        to, problem_words = evacuees(fleet, positions, job), ""
    except InputError as error:
        to, problem_words = {}, str(error)
    candidates = plan_evacuation(fleet, positions, job, to)
    return EvacuationPlan(job, tuple(candidates), to, problem_words)


def _plan_move(fleet: Fleet, positions: Positions, job: Move, forecast: Forecast) -> MovePlan:
    source, vm = positions.host_of(job.vm), fleet.vms[job.vm]
    if source == job.to:
        return MovePlan(job, source, None, f"it runs on {source} already")
    objection = positions.objection(job.vm, job.to)
    request = Request(
        vm=job.vm, to=job.to, most_downtime=job.most_downtime, most_seconds=job.most_seconds
    )
    expected = forecast.of(vm, source, job.to, job.at)
    fails = "" if expected.status == "completed" else forecast.failure(expected)
    return MovePlan(
        job,
        source,
        expected,
        objection or fails or forecast.objection(request, vm, source, job.to, job.at),
    )


def _after(state: State, plan: JobPlan) -> dict[str, tuple[str, ...]]:
    """Return where machines run when a plan has been carried out."""
    if isinstance(plan, EvacuationPlan):
        moved = plan.to
    elif isinstance(plan, BalancePlan):
        moved = {step.vm: step.destination for step in plan.order.steps}
    else:
        done = not plan.objection and plan.expected is not None
        moved = {plan.job.vm: plan.job.to} if done else {}
    return {**state.runs_at, **{name: (host,) for name, host in moved.items()}}
