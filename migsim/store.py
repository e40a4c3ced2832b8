"""Results on disk: one JSON object a line, appended while a sweep runs, sorted when it is done.

Resuming is skipping the keys that are there; merging two files is concatenating them. A crash in
the middle of a write loses that line at most. Two different results under one key are an error,
because the same task must give the same result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import itertools
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from migsim.errors import InputError
from migsim.files import locked
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
        task: what `ResolvedTask.describe` returned, or that of other work (`migsim.work`).
        result: the fields of `Result`, or what the work measured.
    """

    key: str
    task: Mapping[str, Any]
    result: Mapping[str, Any]

    @functools.cached_property
    def text(self) -> str:
        """The line in the file, without its end."""
        return canonical_json({"key": self.key, "result": self.result, "task": self.task})

    def forget_text(self) -> None:
        """Make the text anew when it is asked for again: a third of the memory of a row."""
        self.__dict__.pop("text", None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self.key, self.task, self.result, self.__dict__.get("text"))


def _received(key: str, task: Any, result: Any, text: str | None) -> Row:
    """Return a row that another process has sent, with its text if that was made there."""
    row = _lean(key, task, result)
    if text is not None:
        row.__dict__["text"] = text
    return row


_MOST_TEXTS = 10_000
"""Rows of a store up to which their texts are kept: making them anew takes 40 us each."""

_MOST_SHARED = 4096

_shared: dict[str, dict[str, Any]] = {}
"""Parts of tasks that many have in common, by their texts: machines, links, contents."""


def _lean(key: str, task: Any, result: Any) -> Row:
    """Return a row that shares names, and parts of its task, with others: one sweep has many."""
    if isinstance(task, dict):
        task = {sys.intern(name): _share(value) for name, value in task.items()}
    if isinstance(result, dict):
        result = {sys.intern(name): value for name, value in result.items()}
    return Row(key, task, result)


def _share(value: Any) -> Any:
    if isinstance(value, str):
        return sys.intern(value)
    if not isinstance(value, dict):
        return value
    known = _shared.get(repr(value))
    if known is None:
        known = {sys.intern(name): item for name, item in value.items()}
        if len(_shared) < _MOST_SHARED:
            _shared[repr(value)] = known
    return known


def _parse(line: bytes, place: str) -> Row:
    try:
        value = json.loads(line)
        row = _lean(value["key"], value["task"], value["result"])
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
                if known is not row and known.text != row.text:
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
            self._file = locked(self.path)
        except BlockingIOError:
            raise InputError(f"{self.path}: another migsim is writing to it") from None
        except OSError as error:
            raise InputError(f"{folder}: cannot keep results there: {error.strerror}") from None
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

    def add(self, *rows: Row) -> None:
        """Append rows and make sure that they are on disk: all at once, as the disk is slow.

        Raises `InputError` on a conflict, and where the disk takes no more; that closes the store.
        """
        fresh: dict[str, Row] = {}
        for row in rows:
            known = self.rows.get(row.key) or fresh.setdefault(row.key, row)
            if known is not row and known.text != row.text:
                raise InputError(f"{self.path}: task {row.key[:12]} gave two different results")
        if not fresh:
            return
        try:
            self._file.write(b"".join(row.text.encode() + b"\n" for row in fresh.values()))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()  # what could not be written is not tried again
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None
        self.rows.update(fresh)
        if len(self.rows) > _MOST_TEXTS:
            for row in self.rows.values() if len(self.rows) - len(fresh) <= _MOST_TEXTS else rows:
                row.forget_text()

    def keep(self, rows: Iterable[Row]) -> None:
        """Hold exactly ``rows``, sorted by key: a file that tells nothing but its set of rows.

        A file that is so already is left alone. The new one replaces it in one step, so a crash
        leaves the one or the other. Raises `InputError` where it cannot be written.
        """
        kept = {row.key: row for row in sorted(rows, key=lambda row: row.key)}
        if not self._holds(kept.values()):
            try:
                self._file = _replaced(self.path, _lines(kept.values()), self._file)
            except OSError as error:
                raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None
        self.rows = kept

    def _holds(self, rows: Iterable[Row]) -> bool:
        """Return whether the file has exactly the lines of ``rows``; ends where it has not."""
        with self.path.open("rb") as file:
            return all(line == there for line, there in itertools.zip_longest(_lines(rows), file))

    def tidy(self) -> None:
        """Bring the file into its one order, that of the keys, as `keep` does."""
        self.keep(self.rows.values())

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


def _lines(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the lines of rows one by one: all together may be large."""
    for row in rows:
        known = "text" in vars(row)
        yield row.text.encode() + b"\n"
        if not known:
            row.forget_text()


def _replaced(path: Path, lines: Iterable[bytes], old: BinaryIO) -> BinaryIO:
    """Put a file of ``lines`` in place of ``path``, and return it, locked before it shows.

    ``old``, whose lock kept others out till then, is closed.
    """
    fresh = path.with_name(f".{path.name}.new")  # one name: what a crash leaves is written over
    file = fresh.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        file.close()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name is on disk as well
    finally:
        os.close(folder)
    old.close()
    return file


# A row that was read again has its names sorted, and texts for infinities, which JSON has not;
# a table shows it like a fresh one. What is None is a gap, so that types do not depend on others.
_PLACES = {item.name: place for place, item in enumerate(dataclasses.fields(Result))}
_SHOWN: dict[Any, float] = {"inf": math.inf, "-inf": -math.inf, None: math.nan}


def _place(item: tuple[str, Any]) -> tuple[int, str]:
    """Return where a measurement comes: as in `Result`, and what only other work has behind."""
    return _PLACES.get(item[0], len(_PLACES)), item[0]


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
        record |= sorted(row.result.items(), key=_place)
        records.append({name: _SHOWN.get(item, item) for name, item in record.items()})
    table = pd.DataFrame.from_records(records)
    if labels is not None:
        table.insert(0, "label", list(labels))
    return table.copy()  # in one piece: more than a hundred columns were put in one by one
