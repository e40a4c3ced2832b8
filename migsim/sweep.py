"""Grids of settings as data: axes, their products, unions and parts, and the tasks that they are.

>>> from migsim.sweep import axis
>>> grid = axis("seed", range(2)) * axis("link.rtt", ["1ms", "30ms"]) * axis("vm.vcpus", [1, 8])
>>> near = grid.where(lambda point: point["link.rtt"] == "1ms")
>>> [task.seed for task in near.tasks(algorithm="precopy", workload="idle")]
[0, 0, 1, 1]

A seed chooses the guest's behaviour and the losses, whatever the algorithm: all algorithms of a
grid with an axis ``seed`` meet the same guests over the same paths (common random numbers), so
their differences by seed are what to look at (`migsim.stats.paired_difference`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from migsim.errors import InputError, did_you_mean
from migsim.task import Task

__all__ = ["Grid", "Guests", "Point", "algorithm_axis", "axis", "guest_axis", "link_axis"]

Point = Mapping[str, Any]
"""Settings by name: fields of `Task`, and parameters as ``workload.rate`` or ``vm.vcpus``."""

Guests = Mapping[str, tuple[str, Mapping[str, object]]]
"""What guests are called in figures: label -> (workload, its parameters)."""

_PARTS = ("algorithm", "workload", "link", "vm", "client", "disk")
_FIELDS = tuple(item.name for item in dataclasses.fields(Task) if not item.name.endswith("_args"))


class Grid:
    """An ordered set of points, each the settings of one migration."""

    def __init__(self, points: Iterable[Point]) -> None:
        """Make a grid of points, in their order, each once."""
        kept = {repr(sorted(point.items())): dict(point) for point in points}
        self._points = tuple(kept.values())

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self._points)

    def __mul__(self, other: Grid) -> Grid:
        """Return every point of this grid with every point of the other; this one varies slowest.

        Raises `InputError` where both have a setting.
        """
        return Grid(_joined(first, second) for first in self for second in other)

    def __add__(self, other: Grid) -> Grid:
        """Return the points of both grids, those of this one first; what both have comes once."""
        return Grid((*self, *other))

    def where(self, wanted: Callable[[Point], bool]) -> Grid:
        """Return the points for which ``wanted(point)`` is true."""
        return Grid(point for point in self if wanted(point))

    def tasks(self, **common: Any) -> list[Task]:
        """Return the task of each point, in their order; ``common`` are settings of all.

        A ``label`` may be a function, which gets the point. Raises `InputError` for unknown names.
        """
        return [_task(_joined(common, point)) for point in self]


def axis(name: str, values: Iterable[Any]) -> Grid:
    """Return a grid along one axis.

    A value that is a mapping holds several settings at once, such as a guest's workload and the
    parameters of it; then ``name`` only tells what the axis is about. Raises `InputError`.
    """
    points = [value if isinstance(value, Mapping) else {name: value} for value in values]
    for setting in dict.fromkeys(setting for point in points for setting in point):
        _check(setting)
    return Grid(points)


def guest_axis(guests: Guests, label: str = "{}") -> Grid:
    """Return the grid of some guests; ``label`` is made of what they are called."""
    return axis(
        "guest",
        (
            {"label": label.format(name)} | _with_parameters("workload", workload, arguments)
            for name, (workload, arguments) in guests.items()
        ),
    )


def algorithm_axis(algorithms: Iterable[tuple[str, Mapping[str, object]]]) -> Grid:
    """Return the grid of some algorithms, each with the parameters that it is given.

    >>> list(algorithm_axis([("precopy", {"max_rounds": 5}), ("postcopy", {})]))
    [{'algorithm': 'precopy', 'algorithm.max_rounds': 5}, {'algorithm': 'postcopy'}]
    """
    return axis("algorithm", (_with_parameters("algorithm", *each) for each in algorithms))


def link_axis(links: Mapping[str, Mapping[str, object]]) -> Grid:
    """Return the grid of some links, by their names, each with its parameters."""
    return axis("link", (_with_parameters("link", *each) for each in links.items()))


def _with_parameters(part: str, name: str, parameters: Mapping[str, object]) -> dict[str, object]:
    return {part: name} | {f"{part}.{key}": value for key, value in parameters.items()}


def _joined(first: Point, second: Point) -> dict[str, Any]:
    for name in first:
        if name in second:
            raise InputError(f"sweep: '{name}' is set twice: {first[name]!r} and {second[name]!r}")
    return {**first, **second}


def _check(setting: str) -> None:
    part, dot, parameter = setting.partition(".")
    if dot and parameter and part in _PARTS:
        return
    if dot or setting not in _FIELDS:
        known = [*_FIELDS, *(f"{name}.PARAMETER" for name in _PARTS)]
        raise InputError(f"sweep: there is no setting '{setting}', {did_you_mean(setting, known)}")


def _task(point: Point) -> Task:
    fields: dict[str, Any] = {}
    arguments: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for setting, value in point.items():
        part, dot, parameter = setting.partition(".")
        _check(setting)
        if dot:
            arguments[part][parameter] = value
        else:
            fields[setting] = value(point) if setting == "label" and callable(value) else value
    for needed in ("algorithm", "workload"):
        if needed not in fields:
            raise InputError(f"sweep: a point has no '{needed}': {dict(point)!r}")
    fields |= {f"{part}_args": given for part, given in arguments.items()}
    return Task(**fields)
