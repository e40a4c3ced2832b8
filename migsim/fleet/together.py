"""Guests that migrate together from one host to one other: a gang, over one link."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from migsim.fleet.conductor import Conductor, Crossing
from migsim.gang import Gang
from migsim.result import Result
from migsim.simulate import Outcome, execute
from migsim.task import ResolvedTask

__all__ = ["Member", "run_together"]


@dataclass(frozen=True)
class Member:
    """What became of one guest of a gang.

    Attributes:
        started, ended: when its migration was, seconds since that of the first.
        result: of its migration.
    """

    started: float
    ended: float
    result: Result


def run_together(
    tasks: Sequence[ResolvedTask],
    *,
    interval: float = 0.0,
    gang: Gang | None = None,
    tick: float = 0.01,
) -> list[Member]:
    """Return what becomes of guests whose migrations share the link of the first, max-min.

    One starts each ``interval`` seconds; a ``gang`` has one index of contents. Shares are divided,
    and the gang's members learn from one another, once a ``tick``. Raises `InputError` for
    parameters that only a migration itself can judge.
    """
    conductor = Conductor({"link": tasks[0].link.rate}, tick=tick)
    members: dict[int, Member] = {}

    def start(number: int, task: ResolvedTask) -> None:
        started = conductor.now

        def done(outcome: Outcome) -> None:
            members[number] = Member(started, conductor.now, outcome.result)

        crossing = Crossing(links=("link",), rate=task.link.rate)
        conductor.launch(crossing, lambda share: execute(task, None, share), done, gang)

    for number, task in enumerate(tasks):
        conductor.call_at(number * interval, functools.partial(start, number, task))
    conductor.run()
    return [members[number] for number in range(len(tasks))]
