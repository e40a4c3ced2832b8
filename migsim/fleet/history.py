"""What became of a fleet, read from its audit log: the same for a run and for whoever has the log.

The log is folded entry by entry (`migsim.fleet.state`), so what is told here about where machines
run is what follows from the record, and an entry that cannot follow is an error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from migsim.errors import InputError
from migsim.fleet.chain import Entry
from migsim.fleet.state import State

__all__ = ["Cancelled", "Emptying", "History", "Leg", "Trouble", "read_history", "running"]


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One migration, as the log has it.

    Attributes:
        vm, source, destination, job: which and why.
        attempt: 0 for the first one.
        started, ended: seconds of the fleet's time; ``ended`` is infinite while it is under way.
        paused: when its guest was first paused; None where it never was.
        downtime: seconds.
        sent: bytes on the wire.
        ending: ``under way``, or as `migsim.fleet.fate.Ending`.
        reason: how that came, in one sentence; "" where nothing went wrong.
    """

    vm: str
    source: str
    destination: str
    job: str
    attempt: int
    started: float
    ended: float = math.inf
    paused: float | None = None
    downtime: float = 0.0
    sent: int = 0
    ending: str = "under way"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """A migration that was wanted and not done: whose, for which job, when, and why."""

    at: float
    vm: str
    job: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that did not work as it should, or at all.

    Attributes:
        target: name of the host or trunk.
        kind: ``crash``, ``down`` or ``slow``.
        begins, ends: seconds; ``ends`` is infinite while it is not mended.
    """

    target: str
    kind: str
    begins: float
    ends: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Emptying:
    """A host that was to be emptied.

    Attributes:
        host: which.
        wanted: when that began.
        empty: when no machine ran there any more; infinite while one does.
        machines: those that ran there in the beginning.
        left: those that still do, or that a crash of the host took down.
        crashed: whether the host went down before it was empty.
    """

    host: str
    wanted: float
    empty: float = math.inf
    machines: tuple[str, ...]
    left: tuple[str, ...]
    crashed: bool = False


@dataclass
class History:
    """All that happened up to some time.

    Attributes:
        name, digest: of the scenario.
        entries: of the log.
        at: seconds up to which it tells: the time asked for, or that of the last entry.
        state: in the end.
        legs: migrations, in the order in which they started.
        cancelled, troubles, emptyings: in order of time.
        undone: why a job was not even begun, a sentence each.
    """

    name: str = ""
    digest: str = ""
    entries: Sequence[Entry] = ()
    at: float = 0.0
    state: State = field(default_factory=State)
    legs: list[Leg] = field(default_factory=list)
    cancelled: list[Cancelled] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    emptyings: list[Emptying] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing comes after it: the run came to its end."""
        return bool(self.entries) and self.entries[-1].kind == "closed"

    @property
    def downtime(self) -> float:
        """The sum of all downtimes, seconds."""
        return math.fsum(leg.downtime for leg in self.legs)

    @property
    def sent(self) -> int:
        """Bytes on the wire, of all migrations."""
        return sum(leg.sent for leg in self.legs)


def read_history(entries: Sequence[Entry], until: float = math.inf) -> History:
    """Return what the entries of a log tell up to a time, that included.

    Raises `InputError` for an entry that cannot follow from those before.
    """
    last = entries[-1].at if entries else 0.0
    told = [entry for entry in entries if entry.at <= until]
    history = History(entries=told, at=min(until, last))
    latest: dict[str, int] = {}  # the last leg of each machine
    seen: list[int] = []  # changes of the host of each of `emptyings` when it was looked at
    for entry in history.entries:
        was_under_way = entry.subject in history.state.under_way
        history.state.follow(entry)
        _note(history, entry, latest, was_under_way=was_under_way)
        _see_who_is_empty(history, entry, seen)
    return history


def _note(history: History, entry: Entry, latest: dict[str, int], *, was_under_way: bool) -> None:
    """Add to a history what an entry tells; before it, its machine may have been under way."""
    details = entry.details
    if entry.kind == "opened":
        history.name, history.digest = entry.subject, entry.key
    elif entry.kind == "decided":
        _note_decision(history, entry)
    elif entry.kind == "started":
        latest[entry.subject] = len(history.legs)
        history.legs.append(
            Leg(
                vm=entry.subject, source=_text(entry, "source"), started=entry.at,
                destination=_text(entry, "destination"), job=str(details.get("job", "")),
                attempt=int(details.get("attempt") or 0),
            )
        )  # fmt: skip
    elif entry.kind in {"completed", "failed"}:
        _end(history, latest[entry.subject], entry, str(details.get("ending", "completed")))
    elif entry.kind == "cancelled":
        reason = str(details.get("reason", ""))
        if was_under_way:
            _end(history, latest[entry.subject], entry, "stayed")
        history.cancelled.append(
            Cancelled(at=entry.at, vm=entry.subject, job=str(details.get("job", "")), reason=reason)
        )
    elif entry.kind in {"crashed", "impaired"}:
        kind = "crash" if entry.kind == "crashed" else str(details.get("how", "down"))
        history.troubles.append(Trouble(target=entry.subject, kind=kind, begins=entry.at))
    elif entry.kind in {"recovered", "mended"}:
        _mend(history, entry)


def _note_decision(history: History, entry: Entry) -> None:
    what = entry.details.get("what")
    if what == "evacuate" and "order" in entry.details:
        machines = running(history.state, entry.subject)
        history.emptyings.append(
            Emptying(host=entry.subject, wanted=entry.at, machines=machines, left=machines)
        )
    elif what == "nothing":
        history.undone.append(f"{entry.subject}: {entry.details.get('reason')}")
    elif what == "balance" and entry.details.get("given_up"):
        history.undone.append(
            f"{entry.subject}: no order of moves leads there {entry.details['given_up']}"
        )


def _end(history: History, place: int, entry: Entry, ending: str) -> None:
    """End the leg at a place: the migration under way of the entry's machine."""
    details: dict[str, Any] = dict(entry.details)
    history.legs[place] = dataclasses.replace(
        history.legs[place], ended=entry.at, ending=ending, paused=details.get("paused"),
        downtime=details.get("downtime_seconds", 0.0), sent=details.get("bytes_sent", 0),
        reason=details.get("reason", ""),
    )  # fmt: skip


def _mend(history: History, entry: Entry) -> None:
    """End the troubles of the entry's subject that are of its kind: it works when none is left."""
    kind = "crash" if entry.kind == "recovered" else str(entry.details.get("how", "down"))
    for place, trouble in enumerate(history.troubles):
        if (trouble.target, trouble.kind, trouble.ends) == (entry.subject, kind, math.inf):
            history.troubles[place] = dataclasses.replace(trouble, ends=entry.at)


def _see_who_is_empty(history: History, entry: Entry, seen: list[int]) -> None:
    for place, one in enumerate(history.emptyings):
        changes = history.state.changes[one.host]
        if place == len(seen):
            seen.append(-1)
        if math.isfinite(one.empty) or one.crashed or seen[place] == changes:
            continue
        seen[place] = changes
        left = running(history.state, one.host)
        if entry.kind == "crashed" and entry.subject == one.host:
            history.emptyings[place] = dataclasses.replace(one, crashed=True)
        elif left:
            history.emptyings[place] = dataclasses.replace(one, left=left)
        else:
            history.emptyings[place] = dataclasses.replace(one, left=(), empty=entry.at)


def running(state: State, host: str) -> tuple[str, ...]:
    """Return the machines that run on a host."""
    return state.running(host)


def _text(entry: Entry, name: str) -> str:
    value = entry.details.get(name)
    if not isinstance(value, str):
        raise InputError(f"audit log, entry {entry.number}: {name} is {value!r}, expected a text")
    return value
