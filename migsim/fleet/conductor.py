"""Several migrations in one virtual time, over links and processors that they share.

Each migration is a greenlet that runs as if it were alone, up to where its connection has to know
its share of the path (`migsim.network.sharing.Share`); there it waits until all others have come as
far. Algorithms and kernels know nothing of it.

The rule is: within a tick (10 ms by default) links are divided max-min among the flows that send at
any time in it. So a flow that comes or goes changes the shares of others at the next tick, as TCP
needs some round trips to find its share; whoever waits longer than a tick for a round trip learns
of it at the end of that. As long as nobody can come or go, shares are given out for many ticks at
once; and whoever is alone for good is told so, which makes its figures those of
`migsim.simulate.run`, to the bit.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from greenlet import getcurrent, greenlet

from migsim.gang import Gang, GangMember
from migsim.network import Grant, Plans, Share, max_min_shares
from migsim.simulate import Outcome

__all__ = ["Conductor", "Crossing", "Processor"]

Body = Callable[[Share], Outcome]


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """What a migration uses together with others.

    Attributes:
        links: names of the directed links on its path.
        rate: of the path, bytes per second on the wire.
        weight: of its connections on a shared link (`migsim.network.round_trip_weight`, times
            their number).
        demand: bytes per second that it can use at most.
        processor: the name of the host that encodes its pages.
    """

    links: tuple[str, ...]
    rate: float
    weight: float = 1.0
    demand: float = math.inf
    processor: str = ""


@dataclass(frozen=True)
class Processor:
    """What encoders of migrations share with guests.

    Attributes:
        cores: of the host.
        guests: cores that each guest asks for.
    """

    cores: float
    guests: tuple[float, ...] = ()


class _Rider:
    """One migration under way; to its connection, its `Share`.

    Attributes:
        asked: up to when it is simulated: there it waits for its next grant.
        since: the start of the busy period that it is in.
        plans: what it surely does next.
        gang: its place among the guests with which it shares an index of contents.
    """

    def __init__(
        self, conductor: Conductor, crossing: Crossing, starts_at: float, gang: GangMember | None
    ) -> None:
        self.crossing = crossing
        self.gang = gang
        self.starts_at = starts_at
        self.asked = self.since = starts_at
        self.plans = Plans()
        self.grant_now = Grant(1.0, 1.0, -math.inf)
        self._known_until = -math.inf
        self._conductor = conductor
        self._greenlet: Any = None

    def start(self, body: Callable[[], None], main: Any) -> None:
        """Run ``body`` up to where it first waits."""
        self._greenlet = greenlet(body, main)
        self.go_on()

    def go_on(self) -> None:
        """Run up to where it waits again, or to its end."""
        self._greenlet.switch()

    @property
    def resources(self) -> set[str]:
        """What it shares, processors with a mark."""
        own = set(self.crossing.links)
        return own | {_cpu(self.crossing.processor)} if self.plans.threads else own

    def grant(self, now: float, busy_since: float, plans: Plans) -> Grant:
        """Return what the connection has from ``now`` on, once all others are as far."""
        if now >= self.grant_now.until:
            # Rounding must not put it back into a tick that it is through with.
            self.asked = max(self.starts_at + now, self._known_until)
            self.since, self.plans = self.starts_at + busy_since, plans
            if self.gang is not None:
                self.gang.tell(self.asked)
            self._conductor.wait()
            if self.gang is not None:
                self.gang.learn(self.asked)
        return self.grant_now

    def take(self, part: float, cpu: float, until: float) -> None:
        """Have so much of the path and of the processor until then."""
        self._known_until = until
        self.grant_now = Grant(part, cpu, until - self.starts_at)

    def rests_at(self, rate: float) -> float:
        """Return the first time at which it may rest if it sends at ``rate``."""
        rests = self.starts_at + self.plans.rests_at
        return min(rests, self.asked + self.plans.bytes / rate)


def _cpu(processor: str) -> str:
    return f"cpu of {processor}"


class Conductor:
    """Runs migrations and the manager's actions in order of virtual time.

    Attributes:
        now: the time of the action under way, seconds.
    """

    def __init__(
        self,
        capacities: Mapping[str, float],
        processors: Callable[[str, float], Processor] = lambda name, now: Processor(math.inf),
        *,
        tick: float = 0.01,
        awaits: Callable[[], bool] = lambda: False,
    ) -> None:
        """Share links of ``capacities`` (bytes per second) in ticks of so many seconds.

        ``awaits`` tells whether a migration may be started because another one has ended.
        """
        self._capacities = capacities
        self._processors = processors
        self._tick = tick
        self._awaits = awaits
        self._riders: list[_Rider] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._main: Any = getcurrent()
        self.now = 0.0

    @property
    def soon(self) -> float:
        """The first tick after `now`: when the manager can react to what has just happened."""
        return self._end_of_tick(self.now)

    def call_at(self, at: float, action: Callable[[], None]) -> None:
        """Let ``action`` happen at a time not before `now`; what comes first was asked for first.

        Raises ValueError for a time that has passed.
        """
        if not at >= self.now:
            raise ValueError(f"call_at({at}): it is {self.now} already")
        heapq.heappush(self._events, (at, self._count, action))
        self._count += 1

    def launch(
        self,
        crossing: Crossing,
        body: Body,
        done: Callable[[Outcome], None],
        gang: Gang | None = None,
    ) -> None:
        """Start a migration `now`; ``done`` happens when it has ended, at that time.

        With those of its ``gang`` it shares an index of contents.
        """
        member = None if gang is None else gang.join(self.now)
        rider = _Rider(self, crossing, self.now, member)

        def ride() -> None:
            outcome = body(rider)
            self._riders.remove(rider)
            ended = rider.starts_at + outcome.result.total_seconds
            if member is not None:
                member.tell(ended)
            self.call_at(max(ended, self.now), lambda: done(outcome))

        self._riders.append(rider)
        rider.start(ride, self._main)

    def wait(self) -> None:
        """Let the others run: a migration calls this where it has to know its share."""
        self._main.switch()

    def run(self) -> None:
        """Go on until nothing is left to happen."""
        while self._riders or self._events:
            first = min((rider.asked for rider in self._riders), default=math.inf)
            if self._events and self._events[0][0] <= first:
                self.now, _, action = heapq.heappop(self._events)
                action()
            else:
                self._divide(first)

    def _ticks(self, at: float) -> int:
        """Return the number k of the tick in which ``at`` lies: k ticks <= at < k + 1 ticks."""
        k = math.floor(at / self._tick)  # may be one too low: 18.22 / 0.01 is less than 1822
        return k + ((k + 1) * self._tick <= at)

    def _start_of_tick(self, at: float) -> float:
        return self._ticks(at) * self._tick if at < math.inf else at

    def _end_of_tick(self, at: float) -> float:
        return (self._ticks(at) + 1) * self._tick

    def _divide(self, first: float) -> None:
        """Give out shares in the tick of ``first``, and let whoever has one go on."""
        end = self._end_of_tick(first)
        asking = sorted((r for r in self._riders if r.asked < end), key=lambda rider: rider.asked)
        divided = []
        for group in _connected(self._riders):
            within = set(group)
            members = [rider for rider in asking if rider in within]
            if members:
                divided.append((group, members, *self._rates(members, group, end)))
        # Whoever ends may make room for one that starts anywhere.
        soonest = math.inf
        if self._awaits() and len(self._riders) > 1:
            soonest = min((r.asked for r in self._riders if r.asked >= end), default=math.inf)
            for _, _, busy, rates in divided:
                soonest = min(soonest, _first_rest(busy, rates))
        for group, members, busy, rates in divided:
            until = min(soonest, self._known_until(group, members, busy, rates))
            until = max(end, self._start_of_tick(until))
            for rider, rate in zip(members, rates, strict=False):  # they come first in `busy`
                part, cpu = min(1.0, rate / rider.crossing.rate), self._cpu_part(rider, busy)
                rider.take(part, cpu, until)
        for rider in asking:
            rider.go_on()

    def _rates(
        self, asking: list[_Rider], group: list[_Rider], end: float
    ) -> tuple[list[_Rider], list[float]]:
        """Return who in a ``group`` sends in this tick, first those that ask, and how fast."""
        # A round trip that is longer than a tick keeps its sender from asking again.
        busy = asking + [r for r in group if r.asked >= end and r.since < end]
        rates = max_min_shares(
            {link: self._capacities[link] for rider in busy for link in rider.crossing.links},
            [rider.crossing.links for rider in busy],
            weights=[rider.crossing.weight for rider in busy],
            demands=[rider.crossing.demand for rider in busy],
        )
        return busy, rates

    def _known_until(
        self, group: list[_Rider], asking: list[_Rider], busy: list[_Rider], rates: list[float]
    ) -> float:
        """Return up to when nobody in a ``group`` comes or goes, and nothing happens."""
        known = set(asking)
        until = min((rider.asked for rider in group if rider not in known), default=math.inf)
        if self._events:
            until = min(until, self._events[0][0])
        return min(until, _first_rest(busy, rates)) if len(group) > 1 else until

    def _cpu_part(self, rider: _Rider, busy: list[_Rider]) -> float:
        """Return the part of their time that the encoders of a migration get on their host."""
        if not rider.plans.threads:
            return 1.0
        host = rider.crossing.processor
        processor = self._processors(host, rider.asked)
        encoders = [r for r in busy if r.plans.threads and r.crossing.processor == host]
        demands = [*(float(r.plans.threads) for r in encoders), *processor.guests]
        shares = max_min_shares({host: processor.cores}, [[host]] * len(demands), demands=demands)
        return min(1.0, shares[encoders.index(rider)] / rider.plans.threads)


def _first_rest(busy: list[_Rider], rates: list[float]) -> float:
    """Return the first time at which one of those that send at ``rates`` may rest."""
    return min(rider.rests_at(rate) for rider, rate in zip(busy, rates, strict=True))


def _connected(riders: Iterable[_Rider]) -> list[list[_Rider]]:
    """Return the groups of migrations that share something, directly or by way of others."""
    groups: list[tuple[set[str], list[_Rider]]] = []
    for rider in riders:
        resources, members = rider.resources, [rider]
        apart = []
        for other in groups:
            if other[0] & resources:
                resources = resources | other[0]
                members = other[1] + members
            else:
                apart.append(other)
        groups = [*apart, (resources, members)]
    return [members for _, members in groups]
