"""Sizes, rates and times: parsing them from text and printing them.

The units inside migsim are seconds and bytes. A unit in a text is never guessed: ``4G`` is
refused, because a reader cannot tell 4 GB from 4 GiB. 1 Mbit/s is 10^6 bit/s.
"""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction as Exact
from typing import Annotated, Literal, NamedTuple

from migsim.errors import InputError

__all__ = [
    "EXPECTED",
    "GIB",
    "KIB",
    "MIB",
    "ByteRate",
    "Bytes",
    "Cores",
    "Count",
    "Dimension",
    "Fraction",
    "MemoryShare",
    "PageRate",
    "Quantity",
    "Seconds",
    "format_rate",
    "format_seconds",
    "format_size",
    "parse",
]

KIB = 1024
MIB = 1024**2
GIB = 1024**3

Dimension = Literal[
    "size",
    "time",
    "byte rate",
    "page rate",
    "fraction",
    "count",
    "cores",
    "number",
    "memory share",
]


class Quantity(NamedTuple):
    """The annotation that tells what a parameter measures, and so how its text is read."""

    dimension: Dimension


Bytes = Annotated[int, Quantity("size")]
"""A size in bytes; as text ``4GiB``, ``64kB``."""
Seconds = Annotated[float, Quantity("time")]
"""A time in seconds; as text ``300ms``, ``2min``."""
ByteRate = Annotated[float, Quantity("byte rate")]
"""Bytes per second; as text ``1Gbit/s``, ``125MB/s``."""
PageRate = Annotated[float, Quantity("page rate")]
"""Pages per second; as text ``20000``, ``20k``, or a byte rate: that many pages' worth."""
Count = Annotated[int, Quantity("count")]
"""A whole number from 0 on."""
Cores = Annotated[float, Quantity("cores")]
"""Processors, also parts of one, from 0 on."""
Fraction = Annotated[float, Quantity("fraction")]
"""A number from 0 to 1; as text ``0.2`` or ``20%``."""
MemoryShare = Annotated[int, Quantity("memory share")]
"""A size in bytes that may be given as a share of the guest's memory; as text ``25%``, ``1GiB``."""

EXPECTED: dict[Dimension, str] = {
    "size": "a size such as '4GiB' or '512MB'",
    "time": "a time such as '300ms' or '2s'",
    "byte rate": "a rate such as '1Gbit/s' or '125MB/s'",
    "page rate": "pages per second such as '20000', or a byte rate such as '50MB/s'",
    "count": "a whole number from 0 on",
    "cores": "a number of cores such as '16' or '0.5'",
    "fraction": "a fraction from 0 to 1 such as '0.2' or '20%'",
    "number": "a number",
    "memory share": "a size such as '1GiB', or a share of the memory such as '25%'",
}
"""What to write for each dimension."""

_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_TIMES = {
    "ns": Exact(1, 10**9), "us": Exact(1, 10**6), "µs": Exact(1, 10**6), "ms": Exact(1, 1000),
    "s": Exact(1), "min": Exact(60), "h": Exact(3600),
}  # fmt: skip

_NUMBER = re.compile(
    r"\s*([+-]?(?:[0-9]+(?:_[0-9]+)*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*(.*?)\s*"
)


def _unit_table() -> dict[str, tuple[Exact, str]]:
    # Exact factors, so that 2.3MB, 2300kB and 2300000 are one number and give one key.
    table = {"": (Exact(1), ""), "%": (Exact(1, 100), "%")}
    table.update({name: (factor, "s") for name, factor in _TIMES.items()})
    for prefix, factor in (_DECIMAL | _BINARY).items():
        table[prefix + "B"] = (Exact(factor), "B")
        table[prefix + "B/s"] = (Exact(factor), "B/s")
        for bit in ("bit/s", "b/s", "bps"):
            table[prefix + bit] = (Exact(factor, 8), "B/s")
    table.update({prefix: (Exact(factor), "") for prefix, factor in _DECIMAL.items() if prefix})
    return table


_UNITS = _unit_table()

_LARGEST = 10**300

# Which written units each dimension takes; "" is the plain number in the base unit.
_ACCEPTS: dict[Dimension, tuple[str, ...]] = {
    "size": ("B", ""),
    "time": ("s", ""),
    "byte rate": ("B/s", ""),
    "page rate": ("", "B/s"),
    "count": ("",),
    "cores": ("",),
    "fraction": ("", "%"),
    "number": ("", "%", "s", "B", "B/s"),
    "memory share": ("B", "", "%"),
}


def parse(
    text: str, dimension: Dimension, *, page_size: int | None = None, memory: int | None = None
) -> float:
    """Return the value of ``text`` in the base unit of its dimension.

    ``page_size`` turns a byte rate into pages per second, ``memory`` a percentage into a size.
    Sizes come back whole. Raises `InputError` where the text is no such quantity, where it is
    negative, and where a unit prefix such as ``4G`` leaves open what it counts.

    >>> parse("4GiB", "size"), parse("1Gbit/s", "byte rate"), parse("300ms", "time")
    (4294967296, 125000000.0, 0.3)
    >>> parse("50MB/s", "page rate", page_size=4096)
    12207.03125
    """
    return _parsed(text, dimension, page_size, memory)


@functools.lru_cache(maxsize=4096)  # a sweep gives the same few texts to every task
def _parsed(text: str, dimension: Dimension, page_size: int | None, memory: int | None) -> float:
    wanted = EXPECTED[dimension]
    match = _NUMBER.fullmatch(text)
    if text.strip().lower() in {"inf", "unlimited", "infinity"}:
        if dimension in {"time", "byte rate", "number"}:
            return math.inf
        raise InputError(f"got '{text}', expected {wanted}")
    if match is None or match[2] not in _UNITS:
        raise InputError(f"got '{text}', expected {wanted}")
    number = Exact(match[1])
    factor, unit = _UNITS[match[2]]
    ambiguous = dimension in {"size", "memory share", "byte rate", "time"} and not unit and match[2]
    if unit not in _ACCEPTS[dimension] or ambiguous:
        raise InputError(f"got '{text}', expected {wanted}")
    if number < 0 and dimension != "number":
        raise InputError(f"got '{text}', which is negative; expected {wanted}")
    exact = number * factor
    if abs(exact) > _LARGEST:
        raise InputError(f"got '{text}', which is too large; expected {wanted}")
    value = float(exact)
    if dimension == "page rate" and unit == "B/s":
        if page_size is None:
            raise InputError(f"got '{text}', expected plain pages per second here")
        return value / page_size
    if dimension == "fraction" and value > 1:
        raise InputError(f"got '{text}', expected {wanted}")
    if dimension in {"size", "memory share"}:
        if unit == "%":
            if memory is None or value > 1:
                raise InputError(f"got '{text}', expected a size such as '1GiB'")
            return int(exact * memory)
        if exact.denominator != 1:
            raise InputError(f"got '{text}', which is no whole number of bytes")
        return int(exact)
    return value


def _scaled(value: float, units: list[tuple[float, str]], digits: int) -> str:
    for factor, unit in units:
        if abs(value) >= factor:
            return f"{value / factor:.{digits}g} {unit}"
    factor, unit = units[-1]
    return f"{value / factor:.{digits}g} {unit}"


def format_size(size: float) -> str:
    """Return a size with a binary prefix.

    >>> format_size(4 * GIB), format_size(1536)
    ('4 GiB', '1.5 KiB')
    """
    steps = [(2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")]
    return _scaled(size, steps, 4)


def format_rate(rate: float) -> str:
    """Return bytes per second as bits per second, as links are named.

    >>> format_rate(125e6)
    '1 Gbit/s'
    """
    if math.isinf(rate):
        return "unlimited"
    steps = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s")]
    return _scaled(rate * 8, steps, 4)


def format_seconds(seconds: float) -> str:
    """Return a time in the largest unit up to seconds that keeps a digit before the point.

    >>> format_seconds(0.0123), format_seconds(75.5)
    ('12.3 ms', '75.5 s')
    """
    if seconds == 0:
        return "0 s"
    return _scaled(seconds, [(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")], 4)
