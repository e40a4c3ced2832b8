"""What codecs cost: CPU seconds for a page, by what is in it."""

from __future__ import annotations

import csv
import functools
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from migsim.digests import digest_of_file
from migsim.errors import InputError

__all__ = ["COLUMNS", "CodecCost", "costs_path", "digest_of_costs", "read_costs"]

COLUMNS = ("codec", "class", "seconds_per_page", "seconds_per_byte", "seconds_per_run")
"""Columns of a file of costs; ``class`` is ``any`` where content does not matter."""

_REFERENCE = Path(__file__).parent / "data" / "codec-costs.csv"


@dataclass(frozen=True)
class CodecCost:
    """CPU time of one codec.

    Attributes:
        page_seconds: seconds for a page of each class, by name; under ``any`` for all others.
        seconds_per_byte, seconds_per_run: what each encoded byte, and each run of bytes that were
            written, costs beside.
    """

    page_seconds: dict[str, float] = field(default_factory=dict)
    seconds_per_byte: float = 0.0
    seconds_per_run: float = 0.0

    def of_class(self, name: str) -> float | None:
        """Return the seconds for a page of a class, if they are known."""
        return self.page_seconds.get(name, self.page_seconds.get("any"))


def costs_path(name: str) -> Path:
    """Return the file that ``reference``, ``measured`` or a path stands for."""
    if name == "reference":
        return _REFERENCE
    if name == "measured":
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return Path(base) / "migsim" / "codec-costs.csv"
    return Path(name)


def read_costs(name: str) -> dict[str, CodecCost]:
    """Return the costs of all codecs in a file, by codec. Raises `InputError`."""
    path = costs_path(name)
    try:
        modified = path.stat().st_mtime_ns
    except OSError as error:
        hint = "; run 'migsim calibrate' first" if name == "measured" else ""
        raise InputError(f"cannot read codec costs '{path}': {error.strerror}{hint}") from None
    return _read(path, modified)


def digest_of_costs(name: str) -> str:
    """Return the digest of a file of costs, on which results depend. Raises `InputError`."""
    read_costs(name)
    return digest_of_file(costs_path(name))


@functools.lru_cache(maxsize=4)
def _read(path: Path, modified: int) -> dict[str, CodecCost]:
    """Read a file once for a whole sweep; ``modified`` tells its versions apart."""
    del modified
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read codec costs '{path}': {error}") from None
    rows = csv.DictReader(lines)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise InputError(f"codec costs '{path}': expected the columns {', '.join(COLUMNS)}")
    found: dict[str, CodecCost] = {}
    for number, row in enumerate(rows, 2):
        cost = found.setdefault(row["codec"], CodecCost())
        page, byte, run = (_seconds(path, number, key, row[key]) for key in COLUMNS[2:])
        cost.page_seconds[row["class"]] = page
        found[row["codec"]] = CodecCost(cost.page_seconds, byte, run)
    return found


def _seconds(path: Path, line: int, key: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(
            f"codec costs '{path}', line {line}: {key} is '{text}', expected seconds from 0 on"
        )
    return value
