"""What an experiment is: a sweep, claims that must hold, and a figure.

An experiment is a module with

- a docstring whose first sentence is the question,
- ``tasks(plan)``, the migrations (or other work, `migsim.work`) to run,
- ``claims(results)``, statements about the table of their results,
- ``figure(results)``, a matplotlib figure,
- optionally ``figures(results)``, further figures by name,
- optionally ``tables(results)``, short tables to print, by title,
- optionally ``numbers(results)``, by name what texts such as the paper say of the results,
- optionally ``page(results)``, a page in Markdown.

``results`` has one row a task; `migsim.store.frame` names the columns.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from migsim.errors import InputError
from migsim.registry import load_experiment
from migsim.result import Result
from migsim.sweep import Guests
from migsim.task import Task
from migsim.work import Unit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "Claim",
    "Experiment",
    "Guests",
    "Plan",
    "all_complete",
    "completed_only",
    "drawn",
    "load",
    "tasks_of",
    "with_lost_time",
]


@dataclass(frozen=True)
class Plan:
    """How much to run.

    Attributes:
        seeds: repetitions of each scenario with other seeds, numbered from 0.
        quick: run a small version that shows the same.
        algorithms: algorithms of the user's to run beside the experiment's own.
    """

    seeds: int = 5
    quick: bool = False
    algorithms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A statement that the results must bear out.

    Attributes:
        sentence: the statement.
        holds: whether it is true of the results.
        evidence: the figures that show it.
    """

    sentence: str
    holds: bool
    evidence: str


@dataclass(frozen=True)
class Experiment:
    """A loaded experiment module.

    Attributes:
        name: the module's own name.
        question: the first sentence of its docstring.
        tasks, claims, figure, figures, tables, numbers, page: the parts; those that are optional
            give nothing where the module lacks them.
    """

    name: str
    question: str
    tasks: Callable[[Plan], Sequence[Unit]]
    claims: Callable[[pd.DataFrame], Sequence[Claim]]
    figure: Callable[[pd.DataFrame], Figure]
    figures: Callable[[pd.DataFrame], dict[str, Figure]]
    tables: Callable[[pd.DataFrame], dict[str, pd.DataFrame]]
    numbers: Callable[[pd.DataFrame], dict[str, float]]
    page: Callable[[pd.DataFrame], str]


def _none(results: pd.DataFrame) -> dict[str, Any]:
    """Stand for the parts that an experiment does not have."""
    return {}


def all_complete(results: pd.DataFrame) -> Claim:
    """Return the claim that every sweep has to make before any other."""
    return Claim(
        "every migration completes, and no page is stale at the destination",
        bool((results["status"] == "completed").all()),
        f"{len(results)} migrations",
    )


def with_lost_time(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with ``lost_seconds``: what pause, faults and throttling took."""
    return results.assign(lost_seconds=results["total_seconds"] - results["guest_seconds"])


def completed_only(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the measurements of migrations that did not complete left blank.

    What a corrupt or abandoned migration measured is no result, and must not be drawn as one.
    """
    measured = [
        field.name
        for field in dataclasses.fields(Result)
        if field.name in results and field.name not in {"status", "error"}
    ]
    blanked = results.astype(dict.fromkeys(measured, float))
    blanked.loc[results["status"] != "completed", measured] = math.nan
    return blanked.copy()  # in one piece: each column was converted by itself


def tasks_of(experiment: Experiment, plan: Plan) -> list[Unit]:
    """Return the tasks of an experiment. Raises `InputError` where they are none."""
    tasks = list(experiment.tasks(plan))
    if not tasks:
        raise InputError(f"experiment '{experiment.name}': tasks() returned no tasks")
    for task in tasks:
        if not isinstance(task, Task) and not dataclasses.is_dataclass(task):
            raise InputError(
                f"experiment '{experiment.name}': tasks() returned {task!r}, not a Task"
            )
    return tasks


def drawn(experiment: Experiment, usable: pd.DataFrame) -> dict[str, Figure]:
    """Return all figures of an experiment by the names of their files.

    ``usable`` are its results as `completed_only` returns them.
    """
    further = experiment.figures(usable).items()
    return {
        experiment.name: experiment.figure(usable),
        **{f"{experiment.name}-{name}": figure for name, figure in further},
    }


def load(name: str) -> Experiment:
    """Return the experiment called ``name`` (or in the file ``name``). Raises `InputError`."""
    module: ModuleType = load_experiment(name)
    for part in ("tasks", "claims", "figure"):
        if not callable(getattr(module, part, None)):
            raise InputError(f"experiment '{name}': expected a function {part}() in it")
    question = " ".join(inspect.cleandoc(module.__doc__ or "").split("\n\n")[0].split())
    return Experiment(
        name.rpartition("/")[2].removesuffix(".py"),
        question,
        module.tasks,
        module.claims,
        module.figure,
        getattr(module, "figures", _none),
        getattr(module, "tables", _none),
        getattr(module, "numbers", _none),
        getattr(module, "page", lambda results: ""),
    )
