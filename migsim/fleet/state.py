"""The state of a fleet, folded from its audit log: where each machine is, and what is under way.

Whoever runs a fleet folds the entries as it records them; whoever has but the log folds them again
and gets the same state. An entry that cannot follow from the state is an error: so a log that
replays is one in which no machine has run twice, or nowhere, without a reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

from migsim.errors import InputError
from migsim.fleet.chain import Entry, Kind

__all__ = ["State", "follow", "replay"]


@dataclass(frozen=True)
class State:
    """A fleet at one instant.

    Attributes:
        at: seconds of virtual time.
        up: the hosts that work.
        impaired: links and hosts that do not do what they should, but have not crashed; each
            with what is wrong, such as ``atlantic down``.
        runs_at: the hosts at which each machine runs: one, or none or two after a failure. A
            machine whose migration is about to hand it over counts at the source.
        under_way: source and destination of each machine that migrates.
        astray: why, of each machine that runs at no host or at two.
    """

    at: float = 0.0
    up: frozenset[str] = frozenset()
    impaired: frozenset[str] = frozenset()
    runs_at: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    under_way: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    astray: Mapping[str, str] = field(default_factory=dict)


def replay(entries: Iterable[Entry]) -> State:
    """Return the state after ``entries``. Raises `InputError` where one cannot follow."""
    return reduce(follow, entries, State())


def follow(state: State, entry: Entry) -> State:
    """Return the state after one more entry. Raises `InputError` where it cannot follow."""
    change = _CHANGES.get(entry.kind)
    after = state if change is None else change(state, entry)
    return dataclasses.replace(after, at=entry.at)


def _need(holds: bool, entry: Entry, why: str) -> None:
    if not holds:
        place = f"audit log, entry {entry.number} ({entry.kind} {entry.subject})"
        raise InputError(f"{place}: {why}")


def _detail(entry: Entry, name: str) -> str:
    value = entry.details.get(name)
    _need(isinstance(value, str), entry, f"{name} is {value!r}, expected a text")
    return str(value)


def _put(state: State, entry: Entry, hosts: Iterable[str]) -> State:
    """Let the machine run at ``hosts``; unless that is one, the entry has to say why."""
    machine, places = entry.subject, tuple(sorted(set(hosts)))
    for host in places:
        _need(host in state.up, entry, f"it cannot run at {host}, which is not up")
    astray = {name: why for name, why in state.astray.items() if name != machine}
    if len(places) != 1:
        astray[machine] = _detail(entry, "reason")
        _need(
            astray[machine] != "", entry, "reason is '', expected why it does not run at one host"
        )
    return dataclasses.replace(state, runs_at={**state.runs_at, machine: places}, astray=astray)


def _ended(state: State, machine: str) -> State:
    rest = {name: pair for name, pair in state.under_way.items() if name != machine}
    return dataclasses.replace(state, under_way=rest)


def _migration(state: State, entry: Entry) -> tuple[str, str]:
    _need(entry.subject in state.under_way, entry, "no migration of it is under way")
    return state.under_way[entry.subject]


def _opened(state: State, entry: Entry) -> State:
    _need(state == State(), entry, "it is not the first entry")
    return state


def _up(state: State, entry: Entry) -> State:
    _need(entry.subject not in state.up, entry, "it is up already")
    return dataclasses.replace(state, up=state.up | {entry.subject})


def _crashed(state: State, entry: Entry) -> State:
    """A host takes down what runs on it; what becomes of its migrations, their entries tell."""
    host = entry.subject
    _need(host in state.up, entry, "it is not up")
    hit = {
        machine: tuple(other for other in hosts if other != host)
        for machine, hosts in state.runs_at.items()
        if host in hosts
    }
    astray = {name: why for name, why in state.astray.items() if len(hit.get(name, ())) != 1}
    astray |= {machine: f"host {host} crashed" for machine, hosts in hit.items() if not hosts}
    return dataclasses.replace(
        state, up=state.up - {host}, runs_at={**state.runs_at, **hit}, astray=astray
    )


def _placed(state: State, entry: Entry) -> State:
    running = state.runs_at.get(entry.subject, ())
    _need(not running, entry, f"it runs at {' and '.join(running)} already")
    _need(entry.subject not in state.under_way, entry, "a migration of it is under way")
    return _put(state, entry, [_detail(entry, "host")])


def _stopped(state: State, entry: Entry) -> State:
    host, running = _detail(entry, "host"), state.runs_at.get(entry.subject, ())
    _need(host in running, entry, f"it does not run at {host}")
    return _put(state, entry, [other for other in running if other != host])


def _started(state: State, entry: Entry) -> State:
    source, destination = _detail(entry, "source"), _detail(entry, "destination")
    running = state.runs_at.get(entry.subject, ())
    _need(running == (source,), entry, f"it does not run at {source}, and there alone")
    _need(entry.subject not in state.under_way, entry, "a migration of it is under way")
    _need(destination in state.up, entry, f"{destination} is not up")
    _need(destination != source, entry, f"it is at {destination} already")
    pair = {entry.subject: (source, destination)}
    return dataclasses.replace(state, under_way={**state.under_way, **pair})


def _switched(state: State, entry: Entry) -> State:
    return _put(state, entry, [_migration(state, entry)[1]])


def _completed(state: State, entry: Entry) -> State:
    return _ended(_switched(state, entry), entry.subject)


def _failed(state: State, entry: Entry) -> State:
    source, destination = _migration(state, entry)
    places = {
        "source": [source], "destination": [destination], "both": [source, destination], "none": [],
    }  # fmt: skip
    where = _detail(entry, "runs_at")
    _need(where in places, entry, f"runs_at is {where!r}, expected one of {', '.join(places)}")
    return _ended(_put(state, entry, places[where]), entry.subject)


def _cancelled(state: State, entry: Entry) -> State:
    """Before its start, or under way: then the machine runs on at the source."""
    if entry.subject not in state.under_way:
        return state
    source = state.under_way[entry.subject][0]
    running = state.runs_at[entry.subject]
    _need(running == (source,), entry, f"it does not run at {source} any more: no way back")
    return _ended(state, entry.subject)


def _trouble(entry: Entry) -> str:
    """Return what is wrong with what: a host may be slow and out of reach at once."""
    return f"{entry.subject} {entry.details.get('how', '')}".strip()


def _impaired(state: State, entry: Entry) -> State:
    return dataclasses.replace(state, impaired=state.impaired | {_trouble(entry)})


def _mended(state: State, entry: Entry) -> State:
    return dataclasses.replace(state, impaired=state.impaired - {_trouble(entry)})


_CHANGES: Mapping[Kind, Callable[[State, Entry], State]] = {
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
