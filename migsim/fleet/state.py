"""The state of a fleet, folded from its audit log: where each machine is, and what is under way.

Whoever runs a fleet folds the entries as it records them; whoever has but the log folds them again
and gets the same state. An entry that cannot follow from the state is an error: so a log that
replays is one in which no machine has run twice, or nowhere, without a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from migsim.errors import InputError
from migsim.fleet.chain import Entry, Kind

__all__ = ["State", "follow", "replay"]


@dataclass
class State:
    """A fleet at one instant, which goes on entry by entry (`follow`); others keep a `copy`.

    Attributes:
        at: seconds of virtual time.
        up: the hosts that work.
        impaired: links and hosts that do not do what they should, but have not crashed; each
            with what is wrong, such as ``atlantic down``.
        runs_at: the hosts at which each machine runs: one, or none or two after a failure. A
            machine whose migration is about to hand it over counts at the source.
        under_way: source and destination of each machine that migrates.
        astray: why, of each machine that runs at no host or at two.
        changes: how often machines have come to each host or left it, to run or to arrive.
    """

    at: float = 0.0
    up: set[str] = field(default_factory=set)
    impaired: set[str] = field(default_factory=set)
    runs_at: dict[str, tuple[str, ...]] = field(default_factory=dict)
    under_way: dict[str, tuple[str, str]] = field(default_factory=dict)
    astray: dict[str, str] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)
    _running: dict[str, set[str]] = field(init=False, repr=False, compare=False)
    _arriving: dict[str, set[str]] = field(init=False, repr=False, compare=False)
    _rank: dict[str, int] = field(init=False, repr=False, compare=False)  # order of `runs_at`

    def __post_init__(self) -> None:
        self.up, self.impaired = set(self.up), set(self.impaired)
        self.runs_at, self.under_way = dict(self.runs_at), dict(self.under_way)
        self.astray = dict(self.astray)
        self._running, self._arriving = {}, {}
        self._rank = {name: place for place, name in enumerate(self.runs_at)}
        for name, hosts in self.runs_at.items():
            for host in hosts:
                self._running.setdefault(host, set()).add(name)
        for name, (_, destination) in self.under_way.items():
            self._arriving.setdefault(destination, set()).add(name)

    def copy(self) -> State:
        """Return a state of its own that stands where this one does."""
        return State(self.at, self.up, self.impaired, self.runs_at, self.under_way, self.astray)

    def settled(self) -> State:
        """Return the state once all that is under way has arrived, as far as its hosts are up."""
        after = self.copy()
        for name, (_, destination) in self.under_way.items():
            after.end(name)
            if destination in after.up:
                after.put(name, (destination,))
                after.astray.pop(name, None)
        return after

    def running(self, host: str) -> tuple[str, ...]:
        """Return the machines that run on a host, in the order in which they were placed."""
        return self._in_order(self._running.get(host, set()))

    def holding(self, host: str) -> tuple[str, ...]:
        """Return the machines that run on a host or arrive there, in the same order."""
        return self._in_order(self._running.get(host, set()) | self._arriving.get(host, set()))

    def _in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(names, key=self._rank.__getitem__))

    def follow(self, entry: Entry) -> None:
        """Go on by one entry. Raises `InputError` where it cannot follow; then nothing changes."""
        change = _CHANGES.get(entry.kind)
        if change is not None:
            change(self, entry)
        self.at = entry.at

    def put(self, machine: str, hosts: tuple[str, ...]) -> None:
        """Let a machine run at ``hosts`` and nowhere else."""
        for host in self.runs_at.get(machine, ()):
            self._running[host].discard(machine)
            self.changes[host] += 1
        self._rank.setdefault(machine, len(self._rank))
        self.runs_at[machine] = hosts
        for host in hosts:
            self._running.setdefault(host, set()).add(machine)
            self.changes[host] += 1

    def begin(self, machine: str, source: str, destination: str) -> None:
        """Let a migration be under way."""
        self.under_way[machine] = (source, destination)
        self._arriving.setdefault(destination, set()).add(machine)
        self.changes[destination] += 1

    def end(self, machine: str) -> None:
        """Let a migration be over."""
        _, destination = self.under_way.pop(machine)
        self._arriving[destination].discard(machine)
        self.changes[destination] += 1


def replay(entries: Iterable[Entry]) -> State:
    """Return the state after ``entries``. Raises `InputError` where one cannot follow."""
    state = State()
    for entry in entries:
        state.follow(entry)
    return state


def follow(state: State, entry: Entry) -> State:
    """Return the state after one more entry, and leave ``state`` alone. Raises `InputError`."""
    after = state.copy()
    after.follow(entry)
    return after


def _need(holds: bool, entry: Entry, why: str) -> None:
    if not holds:
        place = f"audit log, entry {entry.number} ({entry.kind} {entry.subject})"
        raise InputError(f"{place}: {why}")


def _detail(entry: Entry, name: str) -> str:
    value = entry.details.get(name)
    _need(isinstance(value, str), entry, f"{name} is {value!r}, expected a text")
    return str(value)


def _put(state: State, entry: Entry, hosts: Iterable[str]) -> None:
    """Let the machine run at ``hosts``; unless that is one, the entry has to say why."""
    machine, places = entry.subject, tuple(sorted(set(hosts)))
    for host in places:
        _need(host in state.up, entry, f"it cannot run at {host}, which is not up")
    reason = "" if len(places) == 1 else _detail(entry, "reason")
    _need(
        len(places) == 1 or reason != "", entry,
        "reason is '', expected why it does not run at one host",
    )  # fmt: skip
    state.astray.pop(machine, None)
    if reason:
        state.astray[machine] = reason
    state.put(machine, places)


def _migration(state: State, entry: Entry) -> tuple[str, str]:
    _need(entry.subject in state.under_way, entry, "no migration of it is under way")
    return state.under_way[entry.subject]


def _opened(state: State, entry: Entry) -> None:
    _need(state == State(), entry, "it is not the first entry")


def _up(state: State, entry: Entry) -> None:
    _need(entry.subject not in state.up, entry, "it is up already")
    state.up.add(entry.subject)


def _crashed(state: State, entry: Entry) -> None:
    """A host takes down what runs on it; what becomes of its migrations, their entries tell."""
    host = entry.subject
    _need(host in state.up, entry, "it is not up")
    state.up.remove(host)
    for machine in state.running(host):
        left = tuple(other for other in state.runs_at[machine] if other != host)
        state.put(machine, left)
        if len(left) == 1:
            state.astray.pop(machine, None)
        elif not left:
            state.astray[machine] = f"host {host} crashed"


def _placed(state: State, entry: Entry) -> None:
    running = state.runs_at.get(entry.subject, ())
    _need(not running, entry, f"it runs at {' and '.join(running)} already")
    _need(entry.subject not in state.under_way, entry, "a migration of it is under way")
    _put(state, entry, [_detail(entry, "host")])


def _stopped(state: State, entry: Entry) -> None:
    host, running = _detail(entry, "host"), state.runs_at.get(entry.subject, ())
    _need(host in running, entry, f"it does not run at {host}")
    _put(state, entry, [other for other in running if other != host])


def _started(state: State, entry: Entry) -> None:
    source, destination = _detail(entry, "source"), _detail(entry, "destination")
    running = state.runs_at.get(entry.subject, ())
    _need(running == (source,), entry, f"it does not run at {source}, and there alone")
    _need(entry.subject not in state.under_way, entry, "a migration of it is under way")
    _need(destination in state.up, entry, f"{destination} is not up")
    _need(destination != source, entry, f"it is at {destination} already")
    state.begin(entry.subject, source, destination)


def _switched(state: State, entry: Entry) -> None:
    _put(state, entry, [_migration(state, entry)[1]])


def _completed(state: State, entry: Entry) -> None:
    _switched(state, entry)
    state.end(entry.subject)


def _failed(state: State, entry: Entry) -> None:
    source, destination = _migration(state, entry)
    places = {
        "source": [source], "destination": [destination], "both": [source, destination], "none": [],
    }  # fmt: skip
    where = _detail(entry, "runs_at")
    _need(where in places, entry, f"runs_at is {where!r}, expected one of {', '.join(places)}")
    _put(state, entry, places[where])
    state.end(entry.subject)


def _cancelled(state: State, entry: Entry) -> None:
    """Before its start, or under way: then the machine runs on at the source."""
    if entry.subject not in state.under_way:
        return
    source = state.under_way[entry.subject][0]
    running = state.runs_at[entry.subject]
    _need(running == (source,), entry, f"it does not run at {source} any more: no way back")
    state.end(entry.subject)


def _trouble(entry: Entry) -> str:
    """Return what is wrong with what: a host may be slow and out of reach at once."""
    return f"{entry.subject} {entry.details.get('how', '')}".strip()


def _impaired(state: State, entry: Entry) -> None:
    state.impaired.add(_trouble(entry))


def _mended(state: State, entry: Entry) -> None:
    state.impaired.discard(_trouble(entry))


_CHANGES: Mapping[Kind, Callable[[State, Entry], None]] = {
    "opened": _opened,
    "joined": _up,
    "recovered": _up,
    "crashed": _crashed,
    "placed": _placed,
    "stopped": _stopped,
    "started": _started,
    "switched": _switched,
    "completed": _completed,
    "failed": _failed,
    "cancelled": _cancelled,
    "impaired": _impaired,
    "mended": _mended,
}  # decided, retried and closed change nothing
