"""Dirty-rate curves: how many different pages a guest dirties within a time, as it was measured.

Files that are read:

- CSV with the columns ``period`` and one of ``pages``, ``bytes`` and ``rate`` (bytes of different
  pages per second); cells take units, such as ``125ms`` and ``98MB/s``;
- JSON ``{"points": [{"period": 1.0, "pages": 1200}, ...]}``, with ``bytes`` instead if liked, and
  with ``page_size``, ``memory`` (bytes) and ``zero_share`` if known;
- what QEMU's ``query-dirty-rate`` answers, or a list of such answers for several times, one JSON
  object a line or in an array;
- what it answers with Gudkov's patches of 2023, whose ``n-dirty-pages`` is a list by ``periods``,
  with the number of zero pages.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from migsim.errors import InputError
from migsim.units import MIB, Dimension, parse

__all__ = ["Curve", "rates_curve", "read_curve"]

_PAGE = 4096
_MILLISECONDS = {"second": 1000, "millisecond": 1}

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Natural = Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True)
class Curve:
    """How much of its memory a guest dirties within some times, and what else is known of it.

    Attributes:
        points: (seconds, bytes of different pages dirtied within them), ascending in time.
        page_size: bytes of the pages that were counted.
        memory: bytes of the guest's memory, if known.
        zero_share: the share of its pages that are zero, if known.
    """

    points: tuple[tuple[float, float], ...]
    page_size: int = _PAGE
    memory: int | None = None
    zero_share: float | None = None

    @property
    def longest(self) -> float:
        """The longest time measured."""
        return self.points[-1][0]


class _Point(msgspec.Struct, forbid_unknown_fields=True):
    period: Positive
    pages: NotNegative | None = None
    bytes: NotNegative | None = None


class _Own(msgspec.Struct, forbid_unknown_fields=True):
    points: Annotated[list[_Point], msgspec.Meta(min_length=1)]
    page_size: Natural = _PAGE
    memory: Natural | None = None
    zero_share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class _Answer(msgspec.Struct, rename="kebab"):
    """What ``query-dirty-rate`` answers: MiB per second over one time."""

    dirty_rate: NotNegative
    calc_time: Positive
    status: Literal["measured"]
    calc_time_unit: Literal["second", "millisecond"] = "second"


class _Vector(msgspec.Struct, rename="kebab"):
    """What it answers with Gudkov's patches: dirty pages among those sampled, by milliseconds."""

    periods: list[Positive]
    n_dirty_pages: list[NotNegative]
    n_sampled_pages: Natural
    n_total_pages: Natural
    n_zero_pages: NotNegative = 0
    page_size: Natural = _PAGE


def read_curve(path: Path) -> Curve:
    """Return the curve in a file. Raises `InputError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"curve {path}: cannot be read: {reason}") from None
    try:
        if text.lstrip()[:1] in {"{", "["}:
            return _of_json(text)
        return _checked(_of_csv(text.splitlines()))
    except (InputError, msgspec.MsgspecError) as error:
        raise InputError(f"curve {path}: {error}") from None


def rates_curve(given: Iterable[str]) -> Curve:
    """Return the curve that texts ``TIME=RATE`` say. Raises `InputError`."""
    points = []
    for text in given:
        time, equals, rate = text.partition("=")
        try:
            if not equals:
                raise InputError("expected TIME=RATE, such as 1s=100MB/s")
            period = parse(time, "time")
            points.append((period, period * parse(rate, "byte rate")))
        except InputError as error:
            raise InputError(f"--dirty-rate {text}: {error}") from None
    try:
        return _checked(points)
    except InputError as error:
        raise InputError(f"--dirty-rate: {error}") from None


def _checked(points: list[tuple[float, float]], **known: Any) -> Curve:
    points = sorted(points)
    if not points:
        raise InputError("expected at least one period")
    if not all(0 < time < math.inf and 0 <= size < math.inf for time, size in points):
        raise InputError("expected times above 0, and finite sizes from 0 on")
    twice = {a for (a, _), (b, _) in itertools.pairwise(points) if a == b}
    if twice:
        raise InputError(f"the period of {min(twice):g} s is there twice")
    return Curve(tuple(points), **known)


def _of_csv(lines: list[str]) -> list[tuple[float, float]]:
    rows = csv.DictReader(lines, skipinitialspace=True)
    columns = [name.strip() for name in rows.fieldnames or ()]
    values = [name for name in ("pages", "bytes", "rate") if name in columns]
    if "period" not in columns or len(values) != 1:
        raise InputError(
            f"got the columns {', '.join(columns) or '(none)'}, "
            "expected period and one of pages, bytes, rate"
        )
    rows.fieldnames = columns
    kinds: dict[str, Dimension] = {"pages": "number", "bytes": "size", "rate": "byte rate"}
    points = []
    for row in rows:
        try:
            if None in row:
                raise InputError(f"got more cells than the {len(columns)} columns")
            period = parse(row["period"] or "", "time")
            value = parse(row[values[0]] or "", kinds[values[0]])
        except InputError as error:
            raise InputError(f"line {rows.line_num}: {error}") from None
        points.append((period, value * {"pages": _PAGE, "bytes": 1, "rate": period}[values[0]]))
    return points


def _of_json(text: str) -> Curve:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        if len(text.splitlines()) == 1:
            raise
        found = [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
    if not isinstance(found, list):
        found = [found]
    objects = [item.get("return", item) if isinstance(item, dict) else item for item in found]
    if len(objects) == 1 and isinstance(objects[0], dict):
        if "points" in objects[0]:
            return _own(msgspec.convert(objects[0], _Own))
        if "n-dirty-pages" in objects[0]:
            return _vector(msgspec.convert(objects[0], _Vector))
    answers = msgspec.convert(objects, list[_Answer])
    times = [one.calc_time * _MILLISECONDS[one.calc_time_unit] / 1000 for one in answers]
    rates = [one.dirty_rate * MIB for one in answers]  # QEMU calls them MB, and counts 2^20 bytes
    return _checked([(time, time * rate) for time, rate in zip(times, rates, strict=True)])


def _own(given: _Own) -> Curve:
    points = []
    for point in given.points:
        if (point.pages is None) == (point.bytes is None):
            raise InputError(f"period {point.period:g}: expected either pages or bytes")
        size = point.bytes if point.pages is None else point.pages * given.page_size
        points.append((point.period, float(size or 0.0)))
    return _checked(
        points, page_size=given.page_size, memory=given.memory, zero_share=given.zero_share
    )


def _vector(given: _Vector) -> Curve:
    if len(given.periods) != len(given.n_dirty_pages):
        raise InputError(
            f"got {len(given.periods)} periods, but {len(given.n_dirty_pages)} n-dirty-pages"
        )
    if max(given.n_zero_pages, *given.n_dirty_pages, 0) > given.n_sampled_pages:
        raise InputError("got more dirty or zero pages than n-sampled-pages")
    memory = given.n_total_pages * given.page_size
    each = memory / given.n_sampled_pages
    return _checked(
        [
            (time / 1000, n * each)
            for time, n in zip(given.periods, given.n_dirty_pages, strict=True)
        ],
        page_size=given.page_size,
        memory=memory,
        zero_share=given.n_zero_pages / given.n_sampled_pages,
    )
