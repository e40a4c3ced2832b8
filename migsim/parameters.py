"""The parameters of plug-ins: read from a signature, converted and checked before anything runs."""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeAlias

from migsim.errors import InputError, did_you_mean
from migsim.units import (
    EXPECTED,
    Dimension,
    Quantity,
    format_rate,
    format_seconds,
    format_size,
    parse,
)

__all__ = [
    "REQUIRED",
    "Context",
    "NamesFiles",
    "Parameter",
    "Scalar",
    "convert",
    "convert_all",
    "convert_text",
    "describe_parameter",
    "read_parameters",
    "shown_default",
    "split_call",
    "split_outside",
]

Scalar: TypeAlias = bool | int | float | str | None
"""What a parameter's value can be; everything is printable as JSON."""

REQUIRED = inspect.Parameter.empty
"""The default of a parameter that has none."""


@dataclass(frozen=True)
class Context:
    """What some units are relative to."""

    page_size: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class NamesFiles:
    """The annotation of a text parameter that names files, on whose contents a result depends.

    Attributes:
        files: returns the paths that a value of the parameter stands for.
    """

    files: Callable[[str], list[Path]]


@dataclass(frozen=True)
class Parameter:
    """One keyword parameter of a plug-in.

    Attributes:
        name: as in the signature.
        type: bool, int, float or str; object for a number that stays whole if it is.
        default: the default, or `REQUIRED`.
        dimension: what a number measures; decides how text is read.
        choices: the allowed texts, empty for any.
        optional: whether None is a value.
        names_files: set where the value names files.
    """

    name: str
    type: type
    default: Any
    dimension: Dimension = "number"
    choices: tuple[str, ...] = ()
    optional: bool = False
    names_files: NamesFiles | None = None

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is REQUIRED

    @property
    def expected(self) -> str:
        """What to write for it, as a half-sentence."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.type in {bool, str}:
            return "true or false" if self.type is bool else "a text"
        return EXPECTED[self.dimension]


def describe_parameter(name: str, hint: Any, default: Any) -> Parameter:
    """Return the parameter of a name, an annotation and a default."""
    dimension: Dimension = "number"
    optional = False
    choices: tuple[str, ...] = ()
    names_files = None
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        optional = len(options) < len(typing.get_args(hint))
        hint = options[0]
    if typing.get_origin(hint) is typing.Annotated:
        for extra in typing.get_args(hint)[1:]:
            if isinstance(extra, Quantity):
                dimension = extra.dimension
            elif isinstance(extra, NamesFiles):
                names_files = extra
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is Literal:
        choices = tuple(typing.get_args(hint))
        hint = str
    if hint not in {bool, int, float, str}:
        # Without an annotation a default of 1 may as well mean 1.0.
        kinds = {bool: bool, int: object, float: float}
        hint = kinds.get(type(default), str)
    return Parameter(name, hint, default, dimension, choices, optional, names_files)


@functools.lru_cache(maxsize=1024)
def read_parameters(function: Callable[..., Any], *, skip: int) -> tuple[Parameter, ...]:
    """Return the parameters of ``function`` behind the first ``skip`` ones.

    Raises `InputError` where it does not take ``skip`` positional arguments.
    """
    name = getattr(function, "__name__", repr(function))
    signature = inspect.signature(function)
    listed = [
        p for p in signature.parameters.values() if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
    ]
    positional = [p for p in listed if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(positional) < skip:
        raise InputError(f"{name}{signature}: expected {skip} positional parameters before others")
    hints = _hints(function)
    return tuple(describe_parameter(p.name, hints.get(p.name), p.default) for p in listed[skip:])


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations, without those that name what is imported for type checkers only."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:
        space = getattr(function, "__globals__", {})
        hints = {}
        for name, written in getattr(function, "__annotations__", {}).items():
            try:
                hints[name] = typing.get_type_hints(
                    types.SimpleNamespace(__annotations__={name: written}),
                    globalns=space,
                    include_extras=True,
                )[name]
            except NameError:
                continue
        return hints


def convert_text(parameter: Parameter, text: str, context: Context) -> Scalar:
    """Return the value that ``text`` means for ``parameter``. Raises `InputError`."""
    if parameter.optional and text.lower() in {"none", ""}:
        return None
    if parameter.choices:
        if text not in parameter.choices:
            raise InputError(f"got '{text}', expected one of {', '.join(parameter.choices)}")
        return text
    if parameter.type is str:
        return text
    if parameter.type is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise InputError(f"got '{text}', expected true or false")
        return words[text.lower()]
    value = parse(text, parameter.dimension, page_size=context.page_size, memory=context.memory)
    return _as_number(parameter, value, text)


def _as_number(parameter: Parameter, value: float, shown: object) -> int | float:
    if parameter.type is float:
        return float(value)
    if parameter.type is object and not (math.isfinite(value) and value == int(value)):
        return float(value)
    if not math.isfinite(value) or value != int(value):
        raise InputError(f"got '{shown}', expected a whole number")
    return int(value)


def convert(parameter: Parameter, value: Any, context: Context) -> Scalar:
    """Return what ``value``, a text, a number or a flag, means. Raises `InputError`."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        return convert_text(parameter, value, context)
    if value is None and parameter.optional:
        return None
    if isinstance(value, bool) and parameter.type is bool:
        return value
    if not isinstance(value, bool) and isinstance(value, Integral | Real):
        value = int(value) if isinstance(value, Integral) else float(value)
        if parameter.type in {int, float, object}:
            # By way of the text, so that a number meets the same checks as on a command line.
            convert_text(parameter, repr(value), context)
            return _as_number(parameter, value, value)
        if parameter.type is str and not parameter.choices:
            return str(value)
    raise InputError(f"got {value!r}, expected {parameter.expected}")


def convert_all(
    where: str,
    parameters: tuple[Parameter, ...],
    given: Mapping[str, Any],
    context: Context,
) -> dict[str, Scalar]:
    """Return the values of all ``parameters``, defaults filled in, sorted by name.

    ``where`` opens the sentence of an `InputError`, which is raised for unknown names, missing
    required ones and values that cannot be used.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            raise InputError(f"{where}: unknown parameter '{name}', {did_you_mean(name, known)}")
    values: dict[str, Scalar] = {}
    for name, parameter in sorted(known.items()):
        if name in given:
            try:
                values[name] = convert(parameter, given[name], context)
            except InputError as error:
                raise InputError(f"{where}: {name}: {error}") from None
        elif parameter.required:
            raise InputError(f"{where}: parameter '{name}' has no default and was not given")
        else:
            default = parameter.default
            # 1 and 1.0 are one value of a float parameter, and must give one key.
            whole = isinstance(default, int) and not isinstance(default, bool)
            values[name] = float(default) if whole and parameter.type is float else default
    return values


def split_call(text: str) -> tuple[str, dict[str, str]]:
    """Return name and parameters of ``name`` or ``name(key=value, key=value)``.

    Raises `InputError` for anything else.

    >>> split_call("uniform(rate=20k, working_set=1GiB)")
    ('uniform', {'rate': '20k', 'working_set': '1GiB'})
    """
    text = text.strip()
    name, bracket, rest = text.partition("(")
    if not bracket:
        return name.strip(), {}
    if not rest.endswith(")"):
        raise InputError(f"got '{text}', expected name(key=value, ...)")
    parameters = {}
    for part in filter(None, split_outside(rest[:-1], ",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"got '{part}' in '{text}', expected key=value")
        parameters[key.strip()] = value.strip()
    return name.strip(), parameters


def split_outside(text: str, separator: str) -> list[str]:
    """Return the parts of ``text`` between separators that stand outside of all brackets.

    >>> split_outside("mix(parts=uniform(rate=1, offset=2)), idle", ",")
    ['mix(parts=uniform(rate=1, offset=2))', 'idle']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def shown_default(parameter: Parameter) -> str:
    """Return ``name=default`` in the unit that a person would write."""
    value = parameter.default
    if parameter.required:
        return f"{parameter.name}=..."
    if value is None:
        defaults = {
            "working_set": "25%", "device_state": "256KiB+9.5kB/vCPU",
            "queue": "local|1bdp", "send_buffer": "up to 4MiB", "cache": "all pages",
        }  # fmt: skip
        return f"{parameter.name}={defaults.get(parameter.name, 'none')}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if parameter.dimension in {"size", "memory share"}:
            whole = f"{value}B" if value % 1024 else format_size(value)
            return f"{parameter.name}={whole.replace(' ', '')}"
        if math.isinf(value):
            return f"{parameter.name}=inf"
        printers = {"time": format_seconds, "byte rate": format_rate}
        if parameter.dimension in printers:
            return f"{parameter.name}={printers[parameter.dimension](value).replace(' ', '')}"
        return f"{parameter.name}={value:g}"
    return f"{parameter.name}={value}"
