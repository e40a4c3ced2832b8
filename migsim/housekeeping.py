"""What is in folders of results, and which of their rows can never be used again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migsim.codec_costs import digest_of_costs
from migsim.errors import InputError
from migsim.registry import Kind, digest_of, find
from migsim.results import ROWS_NAME, rows_files
from migsim.store import Row, Store, read_rows
from migsim.task import MODEL_VERSION, canonical_json

__all__ = ["UNKNOWN", "Present", "Summary", "collect_garbage", "merge", "summarise"]

UNKNOWN = "a plug-in that cannot be found"
"""Why a row cannot be told to be of use or not."""


_KINDS: tuple[Kind, ...] = ("algorithm", "workload", "link")


class Present:
    """Tells which rows a task made now can have; looks each plug-in up once."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, ...], str | None] = {}

    def stale(self, row: Row) -> str:
        """Return why no task can have this row's key: "" if one can, `UNKNOWN` in doubt."""
        task = row.task
        if task.get("model") != MODEL_VERSION:
            return f"model version {task.get('model')}, not {MODEL_VERSION}"
        doubt = ""
        for kind in _KINDS:
            if f"{kind}_digest" not in task and "work" in task:
                continue  # work of many machines has no one workload or link
            now = self._digest(kind, str(task.get(kind)), task.get(f"{kind}_args", {}))
            if now is None:
                doubt = UNKNOWN
            elif now != task.get(f"{kind}_digest"):
                return f"{kind} '{task.get(kind)}' has changed"
        if "codec_costs_digest" not in task and "work" in task:
            return doubt
        try:
            costs = digest_of_costs(str(task.get("vm", {}).get("codec_costs")))
        except InputError:
            return doubt or UNKNOWN
        return doubt if costs == task.get("codec_costs_digest") else "costs of codecs have changed"

    def _digest(self, kind: Kind, name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return the digest that a plug-in would have in a key; None if it cannot be found."""
        given = {} if kind == "algorithm" else arguments
        place = (kind, name, canonical_json(given))
        if place not in self._digests:
            try:
                plugin = find(kind, name)
                now = plugin.digest if kind == "algorithm" else digest_of(plugin, given)
            except (InputError, OSError):
                now = None
            self._digests[place] = now
        return self._digests[place]


@dataclass(frozen=True)
class Summary:
    """What a file of results holds.

    Attributes:
        file: the file.
        rows: how many.
        algorithms, models: the names and the model versions that they are of.
        reasons: how many rows are stale, or in doubt, by the reason.
    """

    file: Path
    rows: int
    algorithms: tuple[str, ...]
    models: tuple[int, ...]
    reasons: Mapping[str, int]


def summarise(path: Path) -> list[Summary]:
    """Return what each file of rows in ``path`` holds. Raises `InputError`."""
    now = Present()
    return [_summary(file, read_rows([file]).values(), now) for file in rows_files(path)]


def _summary(file: Path, rows: Iterable[Row], now: Present) -> Summary:
    listed = list(rows)
    return Summary(
        file,
        len(listed),
        tuple(sorted({str(row.task.get("algorithm")) for row in listed})),
        tuple(sorted({int(row.task.get("model", 0)) for row in listed})),
        Counter(filter(None, map(now.stale, listed))),
    )


def merge(paths: Iterable[Path], folder: Path) -> tuple[int, int]:
    """Add the rows of ``paths`` to those in ``folder``; return how many are new, and all.

    Raises `InputError` where two disagree about a task; then nothing is written.
    """
    files = [file for path in paths for file in rows_files(path)]
    there = [folder / ROWS_NAME] if (folder / ROWS_NAME).exists() else []
    found = read_rows([*there, *files])
    with Store(folder) as store:
        before = len(store.rows)
        store.keep((found | store.rows).values())
        return len(store.rows) - before, len(store.rows)


def collect_garbage(path: Path, *, unknown: bool, dry: bool) -> list[Summary]:
    """Remove the rows that can never be used again; return what each file held.

    Rows in doubt are kept unless ``unknown``. With ``dry`` nothing is written. Raises `InputError`.
    """
    now, summaries = Present(), []
    useful = {""} if unknown else {"", UNKNOWN}
    for file in rows_files(path):
        if file.name != ROWS_NAME:
            raise InputError(f"{file}: expected a folder of results or its {ROWS_NAME}")
        if dry:
            summaries.append(_summary(file, read_rows([file]).values(), now))
            continue
        with Store(file.parent) as store:
            summaries.append(_summary(file, store.rows.values(), now))
            store.keep([row for row in store.rows.values() if now.stale(row) in useful])
    return summaries
