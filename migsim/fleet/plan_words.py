"""Plans of a fleet in words, rows and values of JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from migsim.fleet.plan import BalancePlan, EvacuationPlan, JobPlan, MovePlan
from migsim.fleet.report import clock
from migsim.units import format_seconds, format_size

__all__ = [
    "CANDIDATE_HEADINGS", "balance_facts", "candidate_rows", "hindrance", "move_facts",
    "plan_as_json", "title", "why_best",
]  # fmt: skip

CANDIDATE_HEADINGS = (
    "", "order", "at a time", "empty after", "downtime", "sent", "machines that stay"
)  # fmt: skip


def title(plan: JobPlan) -> str:
    """Return which job it is, and when it starts."""
    at = clock(plan.job.at)
    if isinstance(plan, EvacuationPlan):
        return f"{at}: empty {plan.job.host}, least {plan.job.minimise}"
    if isinstance(plan, BalancePlan):
        return f"{at}: balance {', '.join(plan.job.hosts) or 'all hosts'}"
    until = "" if math.isinf(plan.job.until) else f", or later until {clock(plan.job.until)}"
    return f"{at}: move {plan.job.vm} from {plan.source or 'nowhere'} to {plan.job.to}{until}"


def hindrance(plan: JobPlan) -> str:
    """Return why a job would not be done as wanted, in one sentence; "" if it would."""
    if isinstance(plan, MovePlan):
        return plan.objection
    if isinstance(plan, BalancePlan):
        stay = ", ".join(plan.order.given_up)
        return plan.problem or (f"no order of moves leads there {stay}" if stay else "")
    best = plan.candidates[0]
    if best.staying:
        whole = f"{best.staying} of {len(best.requests)} machines would not get to another host"
        return f"{whole}: {plan.problem}" if plan.problem else whole
    if plan.job.at + best.seconds > plan.job.deadline:
        return f"it goes down at {clock(plan.job.deadline)}, before it is empty"
    return ""


def candidate_rows(plan: EvacuationPlan) -> list[tuple[str, ...]]:
    """Return a row for each candidate, the best first, as `CANDIDATE_HEADINGS` say."""
    return [
        (
            "best" if place == 0 else "", one.order, str(one.concurrency),
            "never" if math.isinf(one.seconds) else format_seconds(one.seconds),
            format_seconds(one.downtime), format_size(one.traffic), str(one.staying),
        )
        for place, one in enumerate(plan.candidates)
    ]  # fmt: skip


def why_best(plan: EvacuationPlan) -> str:
    """Return what makes the first candidate the best, in one sentence."""
    best, *others = plan.candidates
    if not others:
        return "the only one that was asked for"
    costs = best.costs(plan.job)
    rivals = [other.costs(plan.job) for other in others]
    if min(rival[0] for rival in rivals) > costs[0]:
        return f"{best.staying} machines stay; with all others, {min(rivals)[0]:.0f} or more"
    name = {"time": "empty soonest", "downtime": "least downtime", "traffic": "least traffic"}
    same, behind = rivals.count(costs), [rival for rival in rivals if rival > costs]
    told = name[plan.job.minimise]
    if same:
        told += f", as with {same} of the others"
    if behind and 0 < min(behind)[1] < math.inf:
        lead = 1 - costs[1] / min(behind)[1]
        told += f", {lead:.1%} ahead of the next" if lead > 0 else ", the rest decides"
    return told


def balance_facts(plan: BalancePlan) -> list[tuple[str, str]]:
    """Return what a balance comes to, as pairs of a name and a value."""
    found, job = plan.placement, plan.job
    if found is None:
        return []
    hours = format_seconds(job.horizon)
    within = (
        "it is the best there is" if found.gap <= 0 else
        f"at most {found.gap:.2%} above the best there is ({found.bound:.4g})"
    )  # fmt: skip
    return [
        ("as it is", f"guests lose {found.before:.4g} core-seconds within {hours}"),
        ("then", f"{found.objective:.4g}, of which {found.migrations:.4g} by migrating; {within}"),
        ("moves", _moves(plan)),
    ]  # fmt: skip


def _moves(plan: BalancePlan) -> str:
    waves = len({step.wave for step in plan.order.steps})
    return f"{len(plan.order.steps)} in {waves} wave{'s' if waves > 1 else ''}" if waves else "none"


def move_facts(plan: MovePlan) -> list[tuple[str, str]]:
    """Return what is predicted of a move, as pairs of a name and a value."""
    expected, job = plan.expected, plan.job
    if expected is None:
        return []
    return [
        ("takes", _within(expected.total_seconds, job.most_seconds)),
        ("downtime", _within(expected.downtime_seconds, job.most_downtime)),
        ("sent", format_size(expected.bytes_sent)),
    ]


def _within(value: float, most: float) -> str:
    allowed = "" if math.isinf(most) else f", at most {format_seconds(most)} is allowed"
    return format_seconds(value) + allowed


def plan_as_json(plan: JobPlan) -> dict[str, Any]:
    """Return a plan as values of JSON; None for what never comes to pass."""
    common: dict[str, Any] = {"at": plan.job.at, "hindrance": hindrance(plan)}
    if isinstance(plan, MovePlan):
        return {
            "job": "move", **common, "vm": plan.job.vm, "source": plan.source, "to": plan.job.to,
            "until": _finite(plan.job.until),
            "expected": None if plan.expected is None else plan.expected.as_dict(),
        }  # fmt: skip
    if isinstance(plan, BalancePlan):
        return {"job": "balance", **common, **_placement(plan)}
    candidates = [
        {
            "order": one.order, "concurrency": one.concurrency, "seconds": _finite(one.seconds),
            "downtime_seconds": one.downtime, "bytes_sent": one.traffic, "staying": one.staying,
            "machines": [request.vm for request in one.requests],
        }
        for one in plan.candidates
    ]  # fmt: skip
    return {
        "job": "evacuate", **common, "host": plan.job.host, "minimise": plan.job.minimise,
        "deadline": _finite(plan.job.deadline), "to": plan.to, "problem": plan.problem,
        "why": why_best(plan), "candidates": candidates,
    }  # fmt: skip


def _placement(plan: BalancePlan) -> Mapping[str, Any]:
    found = plan.placement
    if found is None:
        return {"placement": None, "moves": []}
    numbers = {
        name: getattr(found, name) for name in ("objective", "migrations", "bound", "before", "gap")
    }
    moves = [
        {"vm": step.vm, "source": step.source, "to": step.destination, "wave": step.wave,
         "aside": step.aside}
        for step in plan.order.steps
    ]  # fmt: skip
    return {"placement": numbers, "moves": moves, "given_up": list(plan.order.given_up)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
