"""What ``migsim fleet plan`` prints."""

from __future__ import annotations

from migsim.cli.fleet_tables import console, print_facts, print_table
from migsim.fleet.plan import BalancePlan, EvacuationPlan, JobPlan
from migsim.fleet.plan_words import (
    CANDIDATE_HEADINGS,
    balance_facts,
    candidate_rows,
    hindrance,
    move_facts,
    title,
    why_best,
)

__all__ = ["print_plan"]


def print_plan(plan: JobPlan) -> None:
    """Print what a job would do, and what it would come to."""
    screen = console()
    screen.print(title(plan), style="bold", markup=False)
    if isinstance(plan, EvacuationPlan):
        print_table(CANDIDATE_HEADINGS, candidate_rows(plan), left=2)
        screen.print(f"best: {why_best(plan)}", markup=False)
        order = [request.vm for request in plan.candidates[0].requests]
        legs = [(vm, plan.to.get(vm, "wherever there is room then")) for vm in order]
        print_table(("in this order", "to"), legs, left=2)
    elif isinstance(plan, BalancePlan):
        print_facts(balance_facts(plan))
        steps = [
            (str(step.wave + 1), step.vm, step.source, step.destination,
             "to make room" if step.aside else "")
            for step in plan.order.steps
        ]  # fmt: skip
        if steps:
            print_table(("wave", "machine", "from", "to", ""), steps, left=5)
    else:
        print_facts(move_facts(plan))
    if hindered := hindrance(plan):
        screen.print(f"not done: {hindered}", style="yellow", markup=False)
    screen.print()
