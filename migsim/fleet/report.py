"""What became of a fleet, in words and rows: the same for `migsim fleet run` and its log."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migsim.fleet.chain import Entry
from migsim.fleet.history import Cancelled, Emptying, History, Leg, Trouble, running
from migsim.fleet.model import Fleet
from migsim.fleet.requests import Attempt
from migsim.fleet.state import State
from migsim.fleet.topology import capacities, path
from migsim.units import format_seconds, format_size

__all__ = [
    "LEG_HEADINGS", "LinkUse", "alarms", "clock", "event_rows", "host_rows", "leg_rows",
    "report_as_json", "shortfalls", "summary", "use_of_links",
]  # fmt: skip

LEG_HEADINGS = ("machine", "from", "to", "started", "took", "downtime", "sent", "ended")

_MOST_NAMES = 8
"""Machines that a sentence names one by one."""


def clock(seconds: float) -> str:
    """Return a time of the fleet.

    >>> clock(3661.5), clock(59.0)
    ('1:01:01.50', '0:00:59.00')
    """
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"


def leg_rows(history: History) -> list[tuple[str, ...]]:
    """Return a row for each migration, as `LEG_HEADINGS` say."""
    rows: list[tuple[str, ...]] = []
    for leg in history.legs:
        on_the_way = math.isinf(leg.ended)
        ending = leg.ending if not leg.reason else f"{leg.ending}: {leg.reason}"
        measured = ("", "", "") if on_the_way else (
            format_seconds(leg.ended - leg.started), format_seconds(leg.downtime),
            format_size(leg.sent),
        )  # fmt: skip
        tried = f" (try {leg.attempt + 1})" if leg.attempt else ""
        rows.append(
            (leg.vm, leg.source, leg.destination, clock(leg.started), *measured, ending + tried)
        )
    return rows


def alarms(state: State) -> list[str]:
    """Return a sentence for each machine that runs nowhere or twice."""
    found = []
    for name, reason in state.astray.items():
        hosts = state.runs_at[name]
        where = f"runs TWICE, on {' and '.join(hosts)}" if hosts else "runs NOWHERE"
        found.append(f"{name} {where}: {reason}")
    return found


def shortfalls(history: History) -> list[str]:
    """Return a sentence for all that was wanted and not done; an empty list where all is done.

    What runs nowhere or twice is not in it: see `alarms`.
    """
    found = [*history.undone]
    for one in history.cancelled:
        job = f" ({one.job})" if one.job else ""
        found.append(f"{one.vm}{job} was cancelled at {clock(one.at)}: {one.reason}")
    for leg in history.legs:
        if math.isinf(leg.ended):
            found.append(f"{leg.vm} is under way from {leg.source} to {leg.destination}")
    return found + [_emptied(one) for one in history.emptyings if math.isinf(one.empty)]


def summary(history: History) -> list[tuple[str, str]]:
    """Return what came out, as pairs of a name and a value."""
    endings: dict[str, int] = {}
    for leg in history.legs:
        endings[leg.ending] = endings.get(leg.ending, 0) + 1
    counted = ", ".join(f"{count} {ending}" for ending, count in endings.items())
    facts = [("migrations", counted or "none")]
    facts += [("evacuation", _emptied(one)) for one in history.emptyings]
    ended = [leg for leg in history.legs if math.isfinite(leg.ended)]
    if ended:
        longest = max(ended, key=lambda leg: leg.downtime)
        facts += [
            ("downtime", f"{format_seconds(history.downtime)} in all, at most "
                         f"{format_seconds(longest.downtime)} ({longest.vm})"),
            ("sent", format_size(history.sent)),
        ]  # fmt: skip
    return facts


def _emptied(one: Emptying) -> str:
    count = len(one.machines)
    whole = f"{count} machine{'s' if count != 1 else ''}"
    if one.crashed:
        return f"{one.host} went down with {_names(one.left)} of {whole} on it"
    if math.isinf(one.empty):
        return f"{one.host} is not empty: {_names(one.left)} of {whole} run there"
    if not count:
        return f"{one.host} was empty already"
    return (
        f"{one.host} was emptied of {whole} in {format_seconds(one.empty - one.wanted)}, "
        f"at {clock(one.empty)}"
    )


def _names(names: Sequence[str]) -> str:
    """Return names as a list in words, not too long a one."""
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def host_rows(history: History) -> list[tuple[str, str, str, str]]:
    """Return for each host: its name, how it is, how many machines run there, and what moves."""
    state, running = history.state, dict[str, list[str]]()
    for name, hosts in state.runs_at.items():
        for host in hosts:
            running.setdefault(host, []).append(name)
    known = dict.fromkeys(entry.subject for entry in history.entries if entry.kind == "joined")
    rows: list[tuple[str, str, str, str]] = []
    for host in known:
        kinds = [
            trouble.kind for trouble in history.troubles
            if trouble.target == host and math.isinf(trouble.ends) and trouble.kind != "crash"
        ]  # fmt: skip
        health = ", ".join(kinds) or "up" if host in state.up else "crashed"
        moves = [f"{vm} leaves" for vm, pair in state.under_way.items() if pair[0] == host]
        moves += [f"{vm} arrives" for vm, pair in state.under_way.items() if pair[1] == host]
        here = running.get(host, [])
        rows.append(
            (
                host,
                health,
                f"{len(here)}: {_names(here)}" if here else "0",
                _names(moves) if moves else "",
            )
        )
    return rows


def report_as_json(history: History) -> dict[str, Any]:
    """Return all that a history tells as values of JSON; None for what has not come to pass."""
    state = history.state
    return {
        "name": history.name,
        "digest": history.digest,
        "at": history.at,
        "entries": len(history.entries),
        "hosts": [
            dict(zip(("name", "is"), row, strict=False)) | {"machines": running(state, row[0])}
            for row in host_rows(history)
        ],
        "runs_at": state.runs_at,
        "migrations": [_plain(leg) for leg in history.legs],
        "cancelled": [_plain(one) for one in history.cancelled],
        "troubles": [_plain(one) for one in history.troubles],
        "evacuations": [_plain(one) for one in history.emptyings],
        "downtime_seconds": history.downtime,
        "bytes_sent": history.sent,
        "alarms": alarms(state),
        "not_done": shortfalls(history),
    }


def _plain(value: Leg | Cancelled | Trouble | Emptying) -> dict[str, Any]:
    fields = dataclasses.asdict(value).items()
    return {name: None if item == math.inf else item for name, item in fields}


# ---- what happened -----------------------------------------------------------------------------


def event_rows(entries: Iterable[Entry]) -> list[tuple[str, str, str]]:
    """Return when something happened, to whom, and what, of all entries that tell an event."""
    return [
        (clock(entry.at), entry.subject, _EVENTS[entry.kind](entry.details))
        for entry in entries
        if entry.kind in _EVENTS and not (entry.at == 0 and entry.kind in {"joined", "placed"})
    ]


def _decided(details: Mapping[str, object]) -> str:
    what = details.get("what")
    if what == "move":
        until = _number(details, "until")
        window = "" if math.isinf(until) else f", if it can start before {clock(until)}"
        return f"is to move to {details.get('to')}{window}"
    if what == "evacuate" and "placement" in details:
        return f"hosts are chosen one by one, for {details['placement']}"
    if what == "evacuate":
        order, number = details.get("order"), details.get("concurrency")
        staying = details.get("staying")
        return (
            f"is emptied of {details.get('machines')} machines, {number} at a time, order "
            f"'{order}', the best of {details.get('tried')} tried: {_expected(details)}"
            + (f", {staying} stay" if staying else "")
        )
    if what == "balance":
        return (
            f"{details.get('moves')} moves: {_number(details, 'before'):.4g} core-seconds lost "
            f"become {_number(details, 'objective'):.4g} (no less than "
            f"{_number(details, 'bound'):.4g} is possible)"
        )
    if what == "nothing":
        return f"nothing is moved: {details.get('reason')}"
    return ", ".join(f"{name} {value}" for name, value in details.items())


def _expected(details: Mapping[str, object]) -> str:
    return (
        f"{format_seconds(_number(details, 'expected_seconds'))} expected, "
        f"{format_seconds(_number(details, 'expected_downtime'))} of downtime, "
        f"{format_size(_number(details, 'expected_traffic'))}"
    )


def _ended(details: Mapping[str, object]) -> str:
    return (
        f"after {format_seconds(_number(details, 'total_seconds'))}, downtime "
        f"{format_seconds(_number(details, 'downtime_seconds'))}, "
        f"{format_size(_number(details, 'bytes_sent'))} sent"
    )


def _failed(details: Mapping[str, object]) -> str:
    ending = {"twice": "runs TWICE", "lost": "is LOST", "undecided": "runs NOWHERE for now"}
    told = ending.get(str(details.get("ending")), str(details.get("ending", "failed")))
    return f"{told} {_ended(details)}: {details.get('reason')}"


def _number(details: Mapping[str, object], name: str) -> float:
    return float(str(details.get(name, math.nan)))  # infinities are texts


_EVENTS: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "joined": lambda details: "joins the fleet",
    "placed": lambda details: f"is started on {details.get('host')}",
    "decided": _decided,
    "started": lambda details: (
        f"leaves {details.get('source')} for {details.get('destination')}"
        + (f", try {int(str(details['attempt'])) + 1}" if details.get("attempt") else "")
    ),
    "switched": lambda details: "runs at the destination",
    "completed": lambda details: f"has arrived {_ended(details)}",
    "failed": _failed,
    "retried": lambda details: f"is tried again at {clock(_number(details, 'not_before'))}",
    "cancelled": lambda details: f"is cancelled: {details.get('reason')}",
    "stopped": lambda details: f"is stopped on {details.get('host')}",
    "crashed": lambda details: "crashes",
    "recovered": lambda details: "is up again",
    "impaired": lambda details: (
        f"is slow: {_number(details, 'left'):.0%} of its cores are left"
        if details.get("how") == "slow" else "is down"
    ),
    "mended": lambda details: "works as it should again",
}  # fmt: skip


# ---- links -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LinkUse:
    """What a directed link has carried.

    Attributes:
        link: its name.
        bytes: on the wire.
        seconds: while a migration that crosses it was under way.
        share: of what it could have carried in that time.
    """

    link: str
    bytes: int
    seconds: float
    share: float


def use_of_links(
    fleet: Fleet, attempts: Iterable[Attempt], carried: Mapping[str, int]
) -> list[LinkUse]:
    """Return the use of each link that carried something, the busiest first."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for attempt in attempts:
        for link in path(fleet, attempt.source, attempt.destination).links:
            spans.setdefault(link, []).append((attempt.started, attempt.ended))
    rates, found = capacities(fleet), []
    for link, size in carried.items():
        seconds = _covered(spans.get(link, []))
        share = size / (rates[link] * seconds) if seconds else 0.0
        found.append(LinkUse(link=link, bytes=size, seconds=seconds, share=share))
    return sorted(found, key=lambda use: (-use.share, use.link))


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds lie in one span or more."""
    total, reached = 0.0, -math.inf
    for begins, ends in sorted(spans):
        total += max(0.0, ends - max(begins, reached))
        reached = max(reached, ends)
    return total
