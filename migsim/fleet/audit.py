"""The audit log of a fleet: every decision, act and outcome, in an order that cannot be forged.

One JSON object a line, appended as things happen, with nothing but virtual time in it. Each entry
holds the SHA-256 of the one before, so a line that was changed, cut out or put elsewhere is found;
the last entry counts the others, so a cut at the end is found as well. A log without it is open:
its run was interrupted, or its end is missing, and nobody can tell which. Whoever could rewrite the
whole file could also compute all hashes anew: against that, keep the last one (`Verdict.head`)
elsewhere.

A run is deterministic, so an interrupted one is taken up by running it again over its log: what it
records must be what stands there, entry by entry, and goes on behind the last.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from migsim.errors import InputError
from migsim.files import locked
from migsim.task import MODEL_VERSION, canonical_json

__all__ = ["FORMAT", "AuditLog", "Detail", "Entry", "Kind", "Verdict", "read_entries", "verify"]

FORMAT = 1
"""Version of the format of a line."""

Detail = str | int | float | bool | None

Kind = Literal[
    "opened", "joined", "placed", "decided", "started", "switched", "completed", "failed",
    "retried", "cancelled", "stopped", "crashed", "recovered", "impaired", "mended", "closed",
]  # fmt: skip
"""What can happen; `migsim.fleet.state` says what each changes.

``opened`` begins the log of a scenario, ``closed`` ends it. A host has ``joined`` the fleet,
``crashed``, or ``recovered``; a machine is ``placed`` on a host (at first, or started anew after a
crash) or ``stopped`` there. Something was ``decided``; a migration has ``started``, ``switched``
its machine over, ``completed`` or ``failed``; it will be ``retried``, or was ``cancelled``. A link
or a host is ``impaired`` or ``mended``.
"""

_TYPES = {
    "number": int, "at": float, "kind": str, "subject": str, "details": dict, "key": str,
    "previous": str, "hash": str,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One line of a log.

    Attributes:
        number: how many entries are before it.
        at: seconds of virtual time.
        kind: what happened.
        subject: the name of the machine, host or link that it happened to.
        details: inputs and outcome, flat.
        key: of the result that it rests on (`migsim.Task`), or the digest of the scenario; "" for
            none.
        previous: the hash of the entry before; "" for the first.
    """

    number: int
    at: float
    kind: Kind
    subject: str
    details: Mapping[str, Detail]
    key: str
    previous: str

    @functools.cached_property
    def hash(self) -> str:
        """The SHA-256 of the entry's canonical JSON (`migsim.task.canonical_json`)."""
        return hashlib.sha256(canonical_json(self._fields()).encode()).hexdigest()

    @functools.cached_property
    def line(self) -> bytes:
        """What stands in the file, without the end of the line."""
        return canonical_json({**self._fields(), "hash": self.hash}).encode()

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _TYPES if name != "hash"}


# ---- reading -------------------------------------------------------------------------------------


class _Broken(Exception):  # noqa: N818 - it becomes a verdict
    """What is wrong with a line."""


class _Torn(Exception):  # noqa: N818 - it becomes a verdict
    """The last line has no end: its write was cut off."""


def _parse(line: bytes) -> Entry:
    """Return the entry of a line. Raises `_Broken` unless it is the entry's one text."""
    try:
        fields = json.loads(line)
        types = {name: type(value) for name, value in fields.items()}
    except (ValueError, AttributeError, RecursionError):
        raise _Broken(f"expected one JSON entry, got {line[:60]!r}") from None
    if types != _TYPES:
        raise _Broken(f"expected an entry with {', '.join(_TYPES)}, got {line[:60]!r}")
    written = fields.pop("hash")
    entry = Entry(**fields)
    if entry.kind not in get_args(Kind):
        raise _Broken(f"kind is {entry.kind!r}, expected one of {', '.join(get_args(Kind))}")
    if entry.hash != written:
        raise _Broken(f"its hash is {written[:60]!r}, expected {entry.hash!r}: it was changed")
    if entry.line != line:
        raise _Broken(f"it is not written as entries are, expected {entry.line[:60]!r}...")
    return entry


def _check_order(entry: Entry, last: Entry | None) -> None:
    """Raise `_Broken` unless ``entry`` can come right after ``last``."""
    if last is None:
        if entry.kind != "opened" or entry.number or entry.previous:
            raise _Broken("the log does not begin here: expected the entry that opens it")
        if entry.details.get("format") != FORMAT:
            raise _Broken(f"format is {entry.details.get('format')!r}, expected {FORMAT}")
        return
    if last.kind == "closed":
        raise _Broken("it follows the entry that closes the log")
    if entry.number != last.number + 1:
        raise _Broken(f"it is entry {entry.number}, expected {last.number + 1}: lines are missing")
    if entry.previous != last.hash:
        raise _Broken("the hash before it is another one: a line was changed or put elsewhere")
    if not last.at <= entry.at < math.inf:
        raise _Broken(f"time is {entry.at} s, expected {last.at} s or later")
    if entry.kind == "opened":
        raise _Broken("the log is opened a second time")
    if entry.kind == "closed" and entry.details.get("count") != entry.number:
        raise _Broken(f"it counts {entry.details.get('count')!r}, expected {entry.number}")


def _walk(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Yield the entries up to the first that is wrong. Raises `_Broken`, `_Torn`."""
    last: Entry | None = None
    for line in lines:
        if last is not None and last.kind == "closed":
            raise _Broken("it follows the entry that closes the log")
        if not line.endswith(b"\n"):
            raise _Torn
        entry = _parse(line[:-1])
        _check_order(entry, last)
        yield entry
        last = entry


@dataclass(frozen=True)
class Verdict:
    """What a log is worth.

    Attributes:
        path: the file.
        status: ``intact``; ``open`` (what is there is valid, but nothing closes it); ``broken``.
        entries: how many are valid, from the first on.
        head: the hash of the last of them.
        torn: whether the write of one more was cut off.
        problem: what is wrong with the line after them, of a broken log.
    """

    path: Path
    status: Literal["intact", "open", "broken"]
    entries: int
    head: str
    torn: bool = False
    problem: str = ""

    @property
    def words(self) -> str:
        """The verdict in one sentence."""
        if self.status == "broken":
            return (
                f"{self.path}:{self.entries + 1}: broken: {self.problem}; "
                f"the {self.entries} entries before are valid"
            )
        if self.status == "intact":
            return f"{self.path}: intact: {self.entries} entries, the last has hash {self.head}"
        torn = "the write of one more was cut off, " if self.torn else ""
        return (
            f"{self.path}: open: {self.entries} entries are valid, {torn}and none closes the log: "
            "its run was interrupted or goes on, or its end was cut off"
        )


def verify(path: Path) -> Verdict:
    """Return whether a log is whole. Raises `InputError` where it cannot be read."""
    last: Entry | None = None
    torn, problem = False, ""
    try:
        with path.open("rb") as file:
            for last in _walk(file):
                pass
    except _Broken as error:
        problem = str(error)
    except _Torn:
        torn = True
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    count, head = (0, "") if last is None else (last.number + 1, last.hash)
    if problem:
        return Verdict(path, "broken", count, head, problem=problem)
    closed = last is not None and last.kind == "closed"
    return Verdict(path, "intact" if closed else "open", count, head, torn)


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a log, closed or open, without one whose write was cut off.

    Raises `InputError` where it is broken or cannot be read.
    """
    entries: list[Entry] = []
    try:
        with path.open("rb") as file:
            entries.extend(_walk(file))  # keeps what came before a torn line
    except _Broken as error:
        raise InputError(f"{path}:{len(entries) + 1}: the log is broken: {error}") from None
    except _Torn:
        pass
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return entries


# ---- writing -------------------------------------------------------------------------------------


class AuditLog:
    """A log that is being written, by one process at a time.

    Each entry is handed to the system as it is recorded, so `kill -9` loses none but the one that
    is being written. It is on disk for good (fsync) before virtual time moves on, so a power cut
    loses what happened at one instant at most.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, name: str, scenario: str) -> None:
        """Open the log of the scenario called ``name`` whose digest is ``scenario``, made anew or
        to be gone on with.

        Raises `InputError` where the file is another scenario's log, is broken, cannot be written,
        or is being written by another process.
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
        self._synced = False
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
            _check_order(_parse(entry.line), last)
        except _Broken as error:
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
            if self._last is None or entry.at > self._last.at:
                self._sync()
            self._file.write(entry.line + b"\n")
            self._file.flush()
            self._synced = False
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()  # what could not be written is not tried again
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None

    def _sync(self) -> None:
        if not self._synced:
            os.fsync(self._file.fileno())
            self._synced = True

    def close(self) -> None:
        """End the log with the entry that counts the others. Raises `InputError`, as `record`."""
        at, count = (0.0, 0) if self._last is None else (self._last.at, self._last.number + 1)
        self.record(at, "closed", "log", count=count)
        try:
            self._sync()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None
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
        if kind is None and not self._file.closed:
            self.close()
        else:
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
