"""The audit log of a fleet: every decision, act and outcome, written down as it happens.

`migsim.fleet.chain` says what a line is, and `migsim.fleet.state` what all of them together mean. A
run is deterministic, so one that was interrupted is taken up by running it again over its log: what
it records must be what stands there, entry by entry, and goes on behind the last.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from migsim.errors import InputError
from migsim.files import locked
from migsim.fleet.chain import (
    FORMAT,
    Broken,
    Detail,
    Entry,
    Kind,
    check_order,
    parsed,
    read_entries,
)
from migsim.task import MODEL_VERSION, canonical_json

__all__ = ["AuditLog"]

_ENTRIES_PER_SYNC = 100


class AuditLog:
    """A log that is being written, by one process at a time.

    Each entry is handed to the system as it is recorded, so `kill -9` loses none but the one that
    is being written. The disk is waited for (fsync) after each hundred and at the end: a power cut
    may cost the last hundred, which the same run writes again.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, name: str, scenario: str) -> None:
        """Open the log of the scenario called ``name`` whose digest is ``scenario``.

        It is made anew, or gone on with. Raises `InputError` where the file is another scenario's
        log, is broken, cannot be written, or is being written by another process.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = locked(path)
        except BlockingIOError:
            raise InputError(f"{path}: another migsim is writing to it") from None
        except OSError as error:
            raise InputError(f"{path}: cannot keep the audit log there: {error.strerror}") from None
        self._last: Entry | None = None
        try:
            self._there = deque(read_entries(path))
            self._drop_torn_line()
            self._refuse_others(scenario)
            self.record(0.0, "opened", name, scenario, format=FORMAT, model=MODEL_VERSION)
        except BaseException:
            self._file.close()
            raise

    def _drop_torn_line(self) -> None:
        whole = sum(len(entry.line) + 1 for entry in self._there)
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)

    def _refuse_others(self, scenario: str) -> None:
        if not self._there:
            return
        first = self._there[0]
        if first.key != scenario:
            raise InputError(
                f"{self.path}: it is the log of scenario {first.subject!r} with digest "
                f"{first.key[:12]}, expected {scenario[:12]}: give another file"
            )
        if first.details.get("model") != MODEL_VERSION:
            raise InputError(
                f"{self.path}: it was written by model version {first.details.get('model')}, "
                f"expected {MODEL_VERSION}: give another file"
            )

    def record(
        self, at: float, kind: Kind, subject: str, /, key: str = "", **details: Detail
    ) -> Entry:
        """Append an entry, or see that an earlier run has written the very same; return it.

        Raises `InputError` where that is another one and where the disk takes no more, ValueError
        for a time before the last entry's, an unknown kind and details that are not flat, and
        RuntimeError once the log is closed.
        """
        last = self._last
        if last is not None and last.kind == "closed":
            raise RuntimeError(f"{self.path}: record() after close()")
        entry = Entry(
            0 if last is None else last.number + 1, float(at), kind, subject, _flat(details), key,
            "" if last is None else last.hash,
        )  # fmt: skip
        try:
            check_order(parsed(entry.line), last)
        except Broken as error:
            raise ValueError(f"record({at}, {kind!r}, {subject!r}): {error}") from None
        if self._there:
            self._compare(self._there.popleft(), entry)
        else:
            self._write(entry)
        self._last = entry
        return entry

    def _compare(self, there: Entry, expected: Entry) -> None:
        if there.line != expected.line:
            raise InputError(
                f"{self.path}:{there.number + 1}: {_difference(there, expected)}: "
                "it is the log of another run"
            )

    def _write(self, entry: Entry) -> None:
        try:
            self._file.write(entry.line + b"\n")
            self._file.flush()
            if entry.kind == "closed" or entry.number % _ENTRIES_PER_SYNC == 0:
                os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()  # what could not be written is not tried again
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """End the log with the entry that counts the others. Raises `InputError`, as `record`."""
        at, count = (0.0, 0) if self._last is None else (self._last.at, self._last.number + 1)
        self.record(at, "closed", "log", count=count)
        self._file.close()

    def leave(self) -> None:
        """Let others write, and the log open: the run did not come to its end."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log, or leave it open where the block has raised."""
        try:
            if kind is None and not self._file.closed:
                self.close()
        finally:
            self.leave()


def _flat(details: Mapping[str, Any]) -> dict[str, Detail]:
    """Return details as they are read again: infinities as texts. Raises ValueError."""
    for name, value in details.items():
        if not isinstance(value, str | int | float | None):
            raise ValueError(f"{name} is {value!r}, expected a text, a number, a truth or None")
    flat: dict[str, Detail] = json.loads(canonical_json(details))
    return flat


def _difference(there: Entry, expected: Entry) -> str:
    """Return where two entries differ, as half a sentence."""

    def shown(entry: Entry) -> dict[str, Any]:
        details = {f"details.{name}": value for name, value in entry.details.items()}
        return {
            "time": entry.at, "kind": entry.kind, "subject": entry.subject, "key": entry.key
        } | details  # fmt: skip

    old, new = shown(there), shown(expected)
    return ", ".join(
        f"{name} is {old.get(name)!r}, expected {new.get(name)!r}"
        for name in {**old, **new}
        if old.get(name) != new.get(name) or (name in old) != (name in new)
    )
