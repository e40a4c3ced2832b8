"""TOML tables as dataclasses: every key known, every value of its type, its unit and its range."""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from migsim.errors import InputError, did_you_mean
from migsim.fleet.lines import Place
from migsim.fleet.mistakes import Mistakes
from migsim.parameters import REQUIRED, Context, Parameter, Scalar, convert, describe_parameter

__all__ = ["check_keys", "read_arguments", "read_key", "read_table", "table_at"]

Item = TypeVar("Item")


class _Range(NamedTuple):
    """Values from ``least`` to ``most``; with ``above``, more than the least. No infinity."""

    least: float
    most: float = math.inf
    above: bool = False
    infinite: bool = False

    def admits(self, value: float) -> bool:
        if math.isinf(value):
            return self.infinite
        return (value > self.least if self.above else value >= self.least) and value <= self.most

    @property
    def words(self) -> str:
        words = f"more than {self.least:g}" if self.above else f"{self.least:g} or more"
        if math.isfinite(self.most):
            return f"{words.removesuffix(' or more')} to {self.most:,.12g}"
        return words if self.infinite else f"{words}, but not infinite"


_POSITIVE = _Range(0, above=True)
_RANGES = {
    # A name means the same in every table.
    "rate": _POSITIVE, "rtt": _Range(0, 1000), "loss": _Range(0, 0.99),
    "most_migrations": _Range(1), "cores": _POSITIVE, "memory": _POSITIVE,
    "vcpus": _Range(1, 4096), "cpu": _Range(0), "count": _Range(1, 100_000),
    "seed": _Range(0, 2**62), "at": _Range(0), "lasts": _Range(0, above=True, infinite=True),
    "left": _Range(0, 1, above=True), "limit_seconds": _Range(0, above=True, infinite=True),
    "backoff": _Range(0), "share_interval": _POSITIVE, "concurrency": _Range(1),
    "most_moves": _Range(1), "horizon": _POSITIVE, "most_seconds": _Range(
        0, above=True, infinite=True),
}  # fmt: skip


def read_table(
    kind: Callable[..., Item], table: Any, place: Place, mistakes: Mistakes, **fixed: Any
) -> Item | None:
    """Return a dataclass of a table's values, and ``fixed`` ones that it must not have.

    Returns None where a mistake was noted.
    """
    before = len(mistakes)
    known = {name: item for name, item in _fields(kind).items() if name not in fixed}
    given = table_at(table, place, mistakes)
    check_keys(given, known, place, mistakes)
    values = dict(fixed)
    for name, (parameter, shape) in known.items():
        if name in given:
            values[name] = _read_field(parameter, shape, given[name], (*place, name), mistakes)
        elif parameter.required:
            expected = "an array of texts" if shape is tuple else parameter.expected
            mistakes.note(place, f"has no '{name}', expected {expected}")
    return kind(**values) if len(mistakes) == before else None


def table_at(value: Any, place: Place, mistakes: Mistakes) -> dict[str, Any]:
    """Return a value that must be a table; an empty one where a mistake was noted."""
    if isinstance(value, dict):
        return value
    mistakes.note(place, f"got {reprlib.repr(value)}, expected a table")
    return {}


def check_keys(
    given: Mapping[str, Any], known: Iterable[str], place: Place, mistakes: Mistakes
) -> None:
    """Note each key that is not known."""
    for name in given:
        if name not in set(known):
            mistakes.note((*place, name), f"unknown key, {did_you_mean(name, known)}")


def read_arguments(
    parameters: tuple[Parameter, ...],
    given: Mapping[str, Any],
    context: Context,
    place: Place,
    mistakes: Mistakes,
) -> None:
    """Note what is wrong with parameters of a plug-in, each at its own key."""
    known = {parameter.name: parameter for parameter in parameters}
    check_keys(given, known, place, mistakes)
    for name, parameter in known.items():
        if name in given:
            _convert(parameter, given[name], context, (*place, name), mistakes)
        elif parameter.required:
            mistakes.note(place, f"has no '{name}', expected {parameter.expected}")


def read_key(
    hint: Any, name: str, table: Mapping[str, Any], place: Place, mistakes: Mistakes, default: Any
) -> Any:
    """Return the value of one key of a table by its annotation, or the default."""
    if name not in table:
        return default
    parameter = describe_parameter(name, hint, default)
    return _read_field(parameter, object, table[name], (*place, name), mistakes)


def _read_field(
    parameter: Parameter, shape: type, value: Any, place: Place, mistakes: Mistakes
) -> Any:
    """Return the value of one key: an array of texts, a table, or a single value in its range."""
    if shape is dict:
        return table_at(value, place, mistakes)
    if shape is tuple:
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return tuple(value)
        mistakes.note(
            place, f"got {reprlib.repr(value)}, expected an array of texts such as ['a', 'b']"
        )
        return ()
    if parameter.type is str and not isinstance(value, str):
        mistakes.note(place, f"got {reprlib.repr(value)}, expected {parameter.expected}")
        return None
    converted = _convert(parameter, value, Context(), place, mistakes)
    wanted = _RANGES.get(parameter.name)
    if wanted and isinstance(converted, int | float) and not wanted.admits(converted):
        mistakes.note(place, f"got {value!r}, expected {wanted.words}")
    return converted


def _convert(
    parameter: Parameter, value: Any, context: Context, place: Place, mistakes: Mistakes
) -> Scalar:
    try:
        return convert(parameter, value, context)
    except InputError as error:
        mistakes.note(place, str(error))
        return None


@functools.cache
def _fields(kind: Hashable) -> dict[str, tuple[Parameter, type]]:
    """Return the fields of a dataclass as parameters, and whether they hold an array or a table."""
    assert isinstance(kind, type) and dataclasses.is_dataclass(kind)
    hints = typing.get_type_hints(kind, include_extras=True)
    found: dict[str, tuple[Parameter, type]] = {}
    for item in dataclasses.fields(kind):
        made = item.default_factory is not dataclasses.MISSING
        default = REQUIRED if item.default is dataclasses.MISSING and not made else item.default
        parameter = describe_parameter(item.name, hints[item.name], default)
        origin = typing.get_origin(hints[item.name])
        shapes: dict[Any, type] = {tuple: tuple, Mapping: dict}
        found[item.name] = (parameter, shapes.get(origin, object))
    return found
