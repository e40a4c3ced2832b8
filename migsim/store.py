"""Results on disk: one JSON object a line, appended and never changed.

Resuming is skipping the keys that are there; merging two files is concatenating them. A crash in
the middle of a write loses that line at most. Two different results under one key are an error,
because the same task must give the same result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from migsim.errors import InputError
from migsim.result import Result
from migsim.task import canonical_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Row", "Store", "frame", "read_rows"]


@dataclass(frozen=True)
class Row:
    """One stored result.

    Attributes:
        key: the key of the task.
        task: what `ResolvedTask.describe` returned.
        result: the fields of `Result`.
    """

    key: str
    task: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The line in the file, without its end."""
        return canonical_json({"key": self.key, "result": self.result, "task": self.task})


def _parse(line: bytes, place: str) -> Row:
    try:
        value = json.loads(line)
        row = Row(value["key"], value["task"], value["result"])
    except (ValueError, KeyError, TypeError, RecursionError):
        row = None
    if row is None or [type(row.key), type(row.task), type(row.result)] != [str, dict, dict]:
        raise InputError(f"{place}: expected one JSON result, got {line[:60]!r}")
    return row


def _complete_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # the end of a write that was cut off
            if line.strip():
                yield number, line


def read_rows(paths: Iterable[Path]) -> dict[str, Row]:
    """Return the rows of one or more files by key. Raises `InputError` where they disagree."""
    rows: dict[str, Row] = {}
    for path in paths:
        try:
            for number, line in _complete_lines(path):
                row = _parse(line, f"{path}:{number}")
                known = rows.setdefault(row.key, row)
                if known.text != row.text:
                    raise InputError(
                        f"{path}:{number}: task {row.key[:12]} has another result than before, "
                        "but the same task must give the same result"
                    )
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return rows


class Store:
    """The results of a folder, open for adding more; one process at a time.

    Attributes:
        path: the file, ``rows.jsonl``.
        rows: all rows by key.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store in ``folder``, made if need be. Raises `InputError`."""
        self.path = folder / "rows.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise InputError(f"{folder}: cannot keep results there: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InputError(f"{self.path}: another migsim is writing to it") from None
        try:
            self.rows = read_rows([self.path])
            self._drop_torn_line()
        except BaseException:
            self._file.close()
            raise

    def _drop_torn_line(self) -> None:
        whole = sum(len(line) for line in self._whole_lines())
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)

    def _whole_lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))

    def add(self, row: Row) -> None:
        """Append a row and make sure that it is on disk.

        Raises `InputError` on a conflict, and where the disk takes no more; that closes the store.
        """
        known = self.rows.setdefault(row.key, row)
        if known is not row:
            if known.text != row.text:
                raise InputError(f"{self.path}: task {row.key[:12]} gave two different results")
            return
        try:
            self._file.write(row.text.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            del self.rows[row.key]
            with contextlib.suppress(OSError):
                self._file.close()  # what could not be written is not tried again
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Close the file and let others write."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# A row that was read again has its names sorted, and texts for infinities, which JSON has not;
# a table shows it like a fresh one. What is None is a gap, so that types do not depend on others.
_PLACES = {item.name: place for place, item in enumerate(dataclasses.fields(Result))}
_SHOWN: dict[Any, float] = {"inf": math.inf, "-inf": -math.inf, None: math.nan}


def frame(rows: Iterable[Row], labels: Iterable[str] | None = None) -> pd.DataFrame:
    """Return the rows as a table: a column for each task field, parameter and measurement.

    ``labels``, one a row, become the column ``label``.

    Parameters are named ``workload.rate``, ``link.rtt``, ``vm.vcpus``; the columns ``algorithm``,
    ``workload`` and ``link`` hold the names.
    """
    import pandas as pd

    records = []
    for row in rows:
        record: dict[str, Any] = {"key": row.key}
        for name, value in sorted(row.task.items()):
            if isinstance(value, Mapping):
                prefix = name.removesuffix("_args")
                record.update({f"{prefix}.{key}": item for key, item in sorted(value.items())})
            else:
                record[name] = value
        record |= sorted(row.result.items(), key=lambda item: _PLACES.get(item[0], len(_PLACES)))
        records.append({name: _SHOWN.get(item, item) for name, item in record.items()})
    table = pd.DataFrame.from_records(records)
    if labels is not None:
        table.insert(0, "label", list(labels))
    return table
