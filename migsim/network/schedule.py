"""How the rate of a path changes over time: traces, named functions, outages."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from migsim._kernels.draws import random_unit
from migsim._types import Floats
from migsim.errors import InputError, did_you_mean
from migsim.units import Dimension, format_rate, parse

__all__ = [
    "Schedule",
    "join_outages",
    "make_schedule",
    "parse_outages",
    "read_trace",
    "trace_files",
]

_CALL = re.compile(r"\s*([a-z]+)\s*\((.*)\)\s*")
_DAILY_SAMPLES = 96
_PERIODS = 32
_CELLULAR_DRAWS = 7200
_LEAST_STEP = 1e-3
_ROUNDING = 1e-12  # relative; outages so close to one another are one
_FUNCTIONS: dict[str, dict[str, tuple[Dimension, float]]] = {
    "step": {"at": ("time", math.nan), "to": ("byte rate", math.nan)},
    "diurnal": {"low": ("fraction", 0.3), "period": ("time", 86_400.0), "peak": ("time", 0.0)},
    "cellular": {"low": ("fraction", 0.1), "every": ("time", 1.0)},
}


class Schedule(NamedTuple):
    """The rate of a path, bytes per second on the wire: ``rate[i]`` holds from ``at[i]`` on."""

    at: Floats
    rate: Floats

    def following(self, now: float) -> int:
        """Return the entry that changes the rate next."""
        return int(self.at.searchsorted(now, side="right"))

    def rate_at(self, now: float) -> float:
        """Return the rate that holds ``now``."""
        return float(self.rate[max(0, self.following(now) - 1)])


def trace_files(text: str) -> list[Path]:
    """Return the file that a ``trace`` parameter names: none for a function such as ``step()``."""
    return [] if _CALL.fullmatch(text) else [Path(text)]


@functools.cache
def _read_rows(text: str, _changed: float) -> tuple[tuple[float, float], ...]:
    rows: list[tuple[float, float]] = []
    try:
        lines = Path(text).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"link: trace {text}: cannot read it: {error}") from None
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split("#")[0].split(",")]
        if cells == [""] or (number == 1 and cells[0].lower() == "seconds"):
            continue
        if len(cells) != 2:
            raise InputError(f"trace {text}, line {number}: got '{line}', expected SECONDS,RATE")
        try:
            at, rate = parse(cells[0], "time"), parse(cells[1], "byte rate")
        except InputError as error:
            raise InputError(f"trace {text}, line {number}: {error}") from None
        if rows and at <= rows[-1][0]:
            raise InputError(f"trace {text}, line {number}: {at:g} s is not after the line before")
        rows.append((at, rate))
    if not rows:
        raise InputError(f"trace {text}: there is no line with a rate")
    return tuple(rows)


def read_trace(text: str, rate: float, seed: int = 0) -> list[tuple[float, float]]:
    """Return the (seconds, bytes per second) that a ``trace`` parameter stands for.

    A file has lines ``SECONDS,RATE`` such as ``12.5,300Mbit/s`` (a plain rate is bytes per
    second); ``step(at=10s, to=1Gbit/s)`` changes the rate once; ``diurnal(low=30%, period=24h,
    peak=0s)`` swings between a share of the link's rate and all of it; ``cellular(low=10%,
    every=1s)`` draws a share at random, evenly. The last rate stays. Raises `InputError`.
    """
    call = _CALL.fullmatch(text)
    if call is None:
        path = Path(text)
        if not path.is_file():
            raise InputError(f"link: trace {text}: there is no such file, nor such a function")
        return list(_read_rows(text, path.stat().st_mtime))
    name, values = call[1], _arguments(text, call[1], call[2])
    if name == "step":
        return [(values["at"], values["to"])]
    if name == "diurnal":
        steps = np.arange(_DAILY_SAMPLES * _PERIODS)
        phase = steps / _DAILY_SAMPLES - values["peak"] / values["period"]
        share = values["low"] + (1.0 - values["low"]) * _hill(phase - np.floor(phase))
        return list(zip(steps * values["period"] / _DAILY_SAMPLES, rate * share, strict=True))
    draws = [random_unit(np.uint64(seed % 2**64), j) for j in range(_CELLULAR_DRAWS)]
    low = values["low"]
    return [(j * values["every"], rate * (low + (1.0 - low) * u)) for j, u in enumerate(draws)]


def _hill(phase: Floats) -> Floats:
    """Return a smooth day: 1 at phases 0 and 1, 0 at 0.5.

    A polynomial: the C library's sine differs between machines.
    """
    x = np.abs(1.0 - 2.0 * phase)
    hill: Floats = x * x * (3.0 - 2.0 * x)
    return hill


def _arguments(text: str, name: str, inside: str) -> Mapping[str, float]:
    if name not in _FUNCTIONS:
        raise InputError(f"link: trace {text}: unknown function '{name}', "
                         f"{did_you_mean(name, _FUNCTIONS)}")  # fmt: skip
    known = _FUNCTIONS[name]
    values = {key: default for key, (_, default) in known.items()}
    for part in filter(None, (part.strip() for part in inside.split(","))):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in known:
            raise InputError(f"link: trace {text}: unknown '{key}', {did_you_mean(key, known)}")
        try:
            values[key] = parse(value, known[key][0])
        except InputError as error:
            raise InputError(f"link: trace {text}: {key}: {error}") from None
    missing = [key for key, value in values.items() if math.isnan(value)]
    if missing:
        raise InputError(f"link: trace {text}: {name} needs {' and '.join(missing)}")
    if not all(map(math.isfinite, values.values())):
        raise InputError(f"link: trace {text}: expected finite values")
    if min(values.get("period", 1.0), values.get("every", 1.0)) < _LEAST_STEP:
        raise InputError(f"link: trace {text}: expected times of at least {_LEAST_STEP:g} s")
    return values


def parse_outages(text: str | None) -> list[tuple[float, float]]:
    """Return the times between which the link is down, of a text such as ``10s+2s,60s+inf``.

    >>> parse_outages("10s+2s,1min+inf")
    [(10.0, 12.0), (60.0, inf)]
    """
    found: list[tuple[float, float]] = []
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        start, plus, length = part.partition("+")
        try:
            if not plus:
                raise InputError(f"got '{part}'")
            begins, ends = parse(start, "time"), parse(start, "time") + parse(length, "time")
            if math.isinf(begins):
                raise InputError(f"got '{part}'")
        except InputError as error:
            raise InputError(
                f"link: outages: {error}; write START+LENGTH such as '10s+2s'"
            ) from None
        if found and begins < found[-1][1]:
            raise InputError(f"link: outages: {part} begins before the one before has ended")
        if ends > begins:
            found.append((begins, ends))
    return found


def join_outages(spans: Iterable[tuple[float, float]]) -> str | None:
    """Return the text of a link that is down in each of ``spans``, which may overlap.

    >>> join_outages([(2.0, 4.0), (9.0, math.inf), (1.0, 3.0)])
    '1.0s+3.0s,9.0s+inf'
    """
    merged: list[tuple[float, float]] = []
    for begins, ends in sorted(spans):
        if merged and begins <= merged[-1][1] * (1.0 + _ROUNDING):
            merged[-1] = (merged[-1][0], max(merged[-1][1], ends))
        else:
            merged.append((begins, ends))
    lengths = ["inf" if math.isinf(ends) else f"{ends - begins!r}s" for begins, ends in merged]
    texts = [f"{begins!r}s+{length}" for (begins, _), length in zip(merged, lengths, strict=True)]
    return ",".join(texts) or None


def make_schedule(
    rate: float, trace: str | None, outages: str | None, background: float, seed: int = 0
) -> Schedule:
    """Return the rate that is left for us over time: the trace less other traffic, 0 in outages.

    Other traffic is of constant rate and does not give way; where it would take all, a hundredth
    is left for us. Raises `InputError`, also for a trace that exceeds the rate.
    """
    rows = [(0.0, rate)]
    if trace:
        listed = read_trace(trace, rate, seed)
        rows = ([] if listed[0][0] == 0 else rows) + listed
        highest = max(value for _, value in listed)
        if highest > rate:
            raise InputError(
                f"link: trace {trace}: {format_rate(highest)} exceeds the link's rate, expected at "
                f"most {format_rate(rate)}"
            )
    if background:
        rows = [
            (at, value - background if value > background else 0.01 * value) for at, value in rows
        ]
    for begins, ends in parse_outages(outages):
        after = [value for at, value in rows if at <= ends][-1]
        rows = (
            [row for row in rows if row[0] < begins]
            + [(begins, 0.0)]
            + ([(ends, after)] if ends < math.inf else [])
            + [row for row in rows if row[0] > ends]
        )
    table = np.array(rows, np.float64)
    return Schedule(np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1]))
