"""What the results come to: all numbers, tables and claims that a paper may tell.

The same results give the same facts on any machine, and the text of a paper has no other source of
numbers. Facts are plain JSON values, so that two builds can be compared.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from migsim.experiment import Experiment, completed_only
from migsim.registry import find, names
from migsim.task import MODEL_VERSION

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["differences", "facts_of", "facts_of_experiment"]


def facts_of_experiment(experiment: Experiment, results: pd.DataFrame) -> dict[str, Any]:
    """Return numbers, claims and tables of an experiment's results.

    Args:
        experiment: which one.
        results: one row a migration, as `migsim.store.frame` returns them.
    """
    usable = completed_only(results)
    return {
        "question": experiment.question,
        "migrations": len(results),
        "seeds": int(results["seed"].nunique()),
        "numbers": {name: _plain(value) for name, value in experiment.numbers(usable).items()},
        "claims": [dataclasses.asdict(claim) for claim in experiment.claims(results)],
        "tables": {title: _table(table) for title, table in experiment.tables(usable).items()},
    }


def facts_of(
    experiments: Mapping[str, Mapping[str, Any]],
    validations: Mapping[str, Mapping[str, Any]],
    *,
    listings: Iterable[str],
    quick: bool,
) -> dict[str, Any]:
    """Return all facts of a paper; ``quick`` ones are of small sweeps and no results.

    ``listings`` are the algorithms of which the source is wanted.
    """
    facts = {
        "model_version": MODEL_VERSION,
        "quick": quick,
        "algorithms": [
            [name, find("algorithm", name).summary.partition(". ")[0].removesuffix(".") + "."]
            for name in names("algorithm")
        ],
        "listings": {
            name: inspect.getsource(find("algorithm", name).call).rstrip() for name in listings
        },
        "experiments": dict(experiments),
        "validations": dict(validations),
    }
    # As they will be read again: with lists for tuples, or the same facts would seem to differ.
    plain: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    return plain


def _plain(value: Any) -> Any:
    """Return a JSON value: NumPy's numbers as Python's, None for what is missing."""
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float) and not math.isfinite(number):
        return None
    return number


def _table(table: pd.DataFrame) -> list[list[Any]]:
    return [
        [str(name) for name in table.columns],
        *([_plain(value) for value in row] for row in table.itertuples(index=False)),
    ]


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield where two facts differ, as ``place: one, other``.

    >>> list(differences({"a": [1, 2]}, {"a": [1, 3], "b": 0}))
    ['a/1: 2, now 3', 'b: missing, now 0']
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = dict.fromkeys((*one, *other))
        pairs = [(str(name), one.get(name, _MISSING), other.get(name, _MISSING)) for name in names]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(str(k), a, b) for k, (a, b) in enumerate(zip(one, other, strict=True))]
    elif one != other:
        yield f"{place}: {one}, now {other}"
        return
    else:
        return
    for name, a, b in pairs:
        yield from differences(a, b, f"{place}/{name}".lstrip("/"))


class _Missing:
    def __str__(self) -> str:
        return "missing"


_MISSING = _Missing()
