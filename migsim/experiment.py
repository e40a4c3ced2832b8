"""What an experiment is: a sweep, claims that must hold, and a figure.

An experiment is a module with

- a docstring whose first sentence is the question,
- ``tasks(plan)``, the migrations to run,
- ``claims(results)``, statements about the table of their results,
- ``figure(results)``, a matplotlib figure,
- optionally ``table(results)``, a short table to print.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from migsim.errors import InputError
from migsim.registry import load_experiment
from migsim.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Claim", "Experiment", "Plan", "load"]


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
    """

    name: str
    question: str
    tasks: Callable[[Plan], Sequence[Task]]
    claims: Callable[[pd.DataFrame], Sequence[Claim]]
    figure: Callable[[pd.DataFrame], Figure]
    table: Callable[[pd.DataFrame], pd.DataFrame] | None


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
        getattr(module, "table", None),
    )
