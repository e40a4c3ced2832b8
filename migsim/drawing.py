"""The figure of one migration, from its task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from migsim.plotting.identity import look_of
from migsim.plotting.style import PAGE
from migsim.plotting.timeline import timeline_figure
from migsim.simulate import Outcome
from migsim.task import ResolvedTask
from migsim.units import format_rate, format_seconds, format_size
from migsim.watch import Sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_migration"]


def draw_migration(
    task: ResolvedTask,
    outcome: Outcome,
    samples: Sequence[Sample],
    *,
    title: str | None = None,
    width: float = PAGE,
) -> Figure:
    """Return pages by kind, dirty memory, link and guest's speed over time.

    ``outcome`` and ``samples`` are what `migsim.simulate.watched` returned; without a ``title`` it
    says what was migrated and how it ended. ``width`` in inches.
    """
    result, link = outcome.result, task.link
    total = result.total_seconds
    pauses = [event.end for event in outcome.timeline if event.act == "pause"]
    return timeline_figure(
        samples,
        outcome.timeline,
        total=total,
        resumed=min(total, pauses[0] + result.downtime_seconds) if pauses else total,
        page_size=task.vm.page_size,
        pages=task.vm.pages,
        goodput=link.goodput,
        title=_title(task, outcome) if title is None else title,
        bins=max(25, min(200, result.pages_sent // 25)),
        width=width,
    )


def _title(task: ResolvedTask, outcome: Outcome) -> str:
    result, link = outcome.result, task.link
    total = format_seconds(result.total_seconds)
    end = (
        f"total {total}, downtime {format_seconds(result.downtime_seconds)}"
        if result.status == "completed"
        else f"{result.status.replace('_', ' ')} after {total}"
    )
    return (
        f"{look_of(task.algorithm.name).label}, {task.workload.name}, "
        f"{format_size(task.vm.memory)}, {format_rate(link.rate)}, {format_seconds(link.rtt)} "
        f"round trip: {end}"
    )
