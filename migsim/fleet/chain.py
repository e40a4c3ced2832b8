"""The lines of an audit log: entries that are chained by hashes, and what a file of them is worth.

One JSON object a line, with nothing but virtual time in it. Each entry holds the SHA-256 of the one
before, so a line that was changed, cut out or put elsewhere is found; the last entry counts the
others, so a cut at the end is found as well. A log without it is open: its run was interrupted, or
its end is missing, and nobody can tell which. Whoever could rewrite the whole file could also
compute all hashes anew: against that, keep the last one (`Verdict.head`) elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from migsim.errors import InputError
from migsim.task import canonical_json

__all__ = [
    "FORMAT", "Broken", "Detail", "Entry", "Kind", "Verdict", "check_order", "parsed",
    "read_entries", "verify",
]  # fmt: skip

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


_BEGINNING = b'{"at":'
"""Of every line."""


class Broken(Exception):  # noqa: N818 - it becomes a verdict
    """What is wrong with a line."""


class _Torn(Exception):  # noqa: N818 - it becomes a verdict
    """The last line has no end: its write was cut off."""


def parsed(line: bytes) -> Entry:
    """Return the entry of a line. Raises `Broken` unless it is the entry's one text."""
    try:
        fields = json.loads(line)
        types = {name: type(value) for name, value in fields.items()}
    except (ValueError, AttributeError, RecursionError):
        raise Broken(f"expected one JSON entry, got {line[:60]!r}") from None
    if types != _TYPES:
        raise Broken(f"expected an entry with {', '.join(_TYPES)}, got {line[:60]!r}")
    written = fields.pop("hash")
    entry = Entry(**fields)
    if entry.kind not in get_args(Kind):
        raise Broken(f"kind is {entry.kind!r}, expected one of {', '.join(get_args(Kind))}")
    if entry.hash != written:
        raise Broken(f"its hash is {written[:60]!r}, expected {entry.hash!r}: it was changed")
    if entry.line != line:
        raise Broken(f"it is not written as entries are, expected {entry.line[:60]!r}...")
    return entry


def check_order(entry: Entry, last: Entry | None) -> None:
    """Raise `Broken` unless ``entry`` can come right after ``last``."""
    if last is None:
        if entry.kind != "opened" or entry.number or entry.previous:
            raise Broken("the log does not begin here: expected the entry that opens it")
        if entry.details.get("format") != FORMAT:
            raise Broken(f"format is {entry.details.get('format')!r}, expected {FORMAT}")
        return
    if entry.number != last.number + 1:
        raise Broken(f"it is entry {entry.number}, expected {last.number + 1}: lines are missing")
    if entry.previous != last.hash:
        raise Broken("the hash before it is another one: a line was changed or put elsewhere")
    if not last.at <= entry.at < math.inf:
        raise Broken(f"time is {entry.at} s, expected {last.at} s or later")
    if entry.kind == "opened":
        raise Broken("the log is opened a second time")
    if entry.kind == "closed" and entry.details.get("count") != entry.number:
        raise Broken(f"it counts {entry.details.get('count')!r}, expected {entry.number}")


def _is_torn(line: bytes) -> bool:
    """Return whether a line without an end is the beginning of an entry, and not another file's.

    Some file systems fill with zeros what a power cut has kept from being written.
    """
    return _BEGINNING.startswith(line.rstrip(b"\0")[: len(_BEGINNING)])


def _walk(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Yield the entries up to the first that is wrong. Raises `Broken`, `_Torn`."""
    last: Entry | None = None
    for line in lines:
        if last is not None and last.kind == "closed":
            raise Broken("it follows the entry that closes the log")
        if not line.endswith(b"\n") and _is_torn(line):
            raise _Torn
        entry = parsed(line.removesuffix(b"\n"))
        check_order(entry, last)
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


def _scan(path: Path) -> tuple[list[Entry], bool, str]:
    """Return the valid entries, whether one more was cut off, and what is wrong behind them."""
    entries: list[Entry] = []
    try:
        with path.open("rb") as file:
            for entry in _walk(file):
                entries.append(entry)  # what came before an error is kept
    except Broken as error:
        return entries, False, str(error)
    except _Torn:
        return entries, True, ""
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return entries, False, ""


def verify(path: Path) -> Verdict:
    """Return whether a log is whole. Raises `InputError` where it cannot be read."""
    entries, torn, problem = _scan(path)
    head = entries[-1].hash if entries else ""
    if problem:
        return Verdict(path, "broken", len(entries), head, problem=problem)
    closed = bool(entries) and entries[-1].kind == "closed"
    return Verdict(path, "intact" if closed else "open", len(entries), head, torn)


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a log, closed or open, without one whose write was cut off.

    Raises `InputError` where it is broken or cannot be read.
    """
    entries, _, problem = _scan(path)
    if problem:
        raise InputError(f"{path}:{len(entries) + 1}: the log is broken: {problem}")
    return entries
