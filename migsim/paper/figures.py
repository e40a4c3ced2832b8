"""All figures of a paper, by the names of their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from migsim.drawing import draw_migration
from migsim.experiment import completed_only, drawn, load
from migsim.paper.plan import Migration, PaperPlan
from migsim.plotting.style import COLUMN, PAGE
from migsim.simulate import watched
from migsim.task import Task
from migsim.validate.drawing import draw_points

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["figures_of"]


def figures_of(
    plan: PaperPlan,
    results: Mapping[str, pd.DataFrame],
    validations: Mapping[str, Mapping[str, Any]],
) -> dict[str, Figure]:
    """Return the figures of experiments, of comparisons, and of single migrations.

    ``results`` are the tables of the experiments, ``validations`` the facts of the comparisons.
    Raises `InputError` where a migration of the plan cannot be simulated.
    """
    figures: dict[str, Figure] = {}
    for name, table in results.items():
        figures |= drawn(load(name), completed_only(table))
    for name, found in validations.items():
        if "points" in found:
            figures[name] = draw_points(name, found["points"])
    for name, migration in plan.timelines.items():
        figures[name] = _over_time(migration)
    return figures


def _over_time(migration: Migration) -> Figure:
    fields = msgspec.to_builtins(migration)
    title, width = fields.pop("title"), fields.pop("width")
    task = Task(**fields).resolve()
    outcome, samples = watched(task)
    return draw_migration(
        task, outcome, samples, title=title, width=PAGE if width == "page" else COLUMN
    )
