"""Ways through a fleet's networks: which links a migration shares, and the connection it has.

Every link is directed and has a name: ``a out`` and ``a in`` are the port of host a, ``t to ny`` is
trunk t towards network ny. Switches are never a bottleneck and add no delay of their own, so half a
network's round trip lies between a host and its switch.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from migsim.errors import InputError
from migsim.fleet.model import Failure, Fleet, Host, Migrating, Network, Trunk
from migsim.network import LEAST_QUEUE, Link
from migsim.network.schedule import join_outages
from migsim.parameters import Context, Scalar, convert_all, read_parameters

__all__ = ["Path", "capacities", "link_args_of", "link_of", "outages_after", "path", "reachable"]


@dataclass(frozen=True, kw_only=True)
class Path:
    """The way from a host to another.

    Attributes:
        source, destination: the hosts.
        trunks: names of the trunks on the way.
        links: names of the directed links, in order.
        rate: of the narrowest one, bytes per second on the wire.
        rtt: round trip.
        loss: chance of each packet to be lost on the way.
        narrow_port: whether no link is narrower than the source's own port, which then makes the
            sender wait, while a switch drops.
        limits: how many migrations each host, network and trunk on the way admits at a time, by
            names such as ``host a``, ``network ny``, ``trunk t``; what has no limit is left out.
    """

    source: str
    destination: str
    trunks: tuple[str, ...]
    links: tuple[str, ...]
    rate: float
    rtt: float
    loss: float
    narrow_port: bool
    limits: Mapping[str, int]

    @property
    def most_migrations(self) -> int:
        """How many may take this way at a time, if there are no others."""
        return min(self.limits.values())


def capacities(fleet: Fleet) -> dict[str, float]:
    """Return the rate of every directed link, bytes per second."""
    found: dict[str, float] = {}
    for host in fleet.hosts.values():
        rate = _port(fleet, host)
        found |= {f"{host.name} out": rate, f"{host.name} in": rate}
    for trunk in fleet.trunks.values():
        found |= {_towards(trunk, trunk.first): trunk.rate}
        found |= {_towards(trunk, trunk.second): trunk.rate}
    return found


def path(fleet: Fleet, source: str, destination: str) -> Path:
    """Return the way with the least round trip, then the fewest trunks, then the first names.

    Raises `InputError` where no trunks join the networks, and for the way from a host to itself.
    """
    first, last = fleet.hosts[source], fleet.hosts[destination]
    if source == destination:
        raise InputError(f"path from '{source}' to itself: expected another host")
    names = _trunks(fleet, first.network, last.network)
    if names is None:
        raise InputError(
            f"there is no way from '{source}' to '{destination}': no trunks join the networks "
            f"'{first.network}' and '{last.network}'"
        )
    trunks = [fleet.trunks[name] for name in names]
    networks = [first.network]
    for trunk in trunks:
        networks.append(_other_end(trunk, networks[-1]))
    links = (
        f"{source} out",
        *(_towards(trunk, end) for trunk, end in zip(trunks, networks[1:], strict=True)),
        f"{destination} in",
    )
    rates = [_port(fleet, first), *(trunk.rate for trunk in trunks), _port(fleet, last)]
    ends = (fleet.networks[first.network].rtt / 2, fleet.networks[last.network].rtt / 2)
    crossed: list[Host | Network | Trunk] = [first, last]
    crossed += [*(fleet.networks[name] for name in networks), *trunks]
    return Path(
        source=source,
        destination=destination,
        trunks=names,
        links=links,
        rate=min(rates),
        rtt=math.fsum((*ends, *(trunk.rtt for trunk in trunks))),
        loss=_any_of(trunk.loss for trunk in trunks),
        narrow_port=rates[0] == min(rates),
        limits=_limits(crossed),
    )


def reachable(fleet: Fleet, network: str) -> set[str]:
    """Return the networks that trunks join to one, itself included."""
    found, new = {network}, [network]
    while new:
        here = new.pop()
        for trunk in fleet.trunks.values():
            if here in {trunk.first, trunk.second}:
                there = _other_end(trunk, here)
                if there not in found:
                    found.add(there)
                    new.append(there)
    return found


def link_args_of(way: Path, migrating: Migrating, outages: str | None = None) -> dict[str, Scalar]:
    """Return the parameters of `migsim.Link` of a migration's connection, as for `migsim.Task`.

    Those that the fleet's file gives go on top of the way's. Raises `InputError` where they do not
    go together.
    """
    given = {"rate": way.rate, "rtt": way.rtt, "loss": way.loss, "outages": outages}
    if not way.narrow_port:
        # `Link` takes a short path's narrowest link for the sender's own interface.
        given["queue"] = f"{math.ceil(max(way.rate * way.rtt, LEAST_QUEUE))}B"
    parameters = read_parameters(Link, skip=0)
    return convert_all("link", parameters, {**given, **migrating.link_args}, Context())


def link_of(way: Path, migrating: Migrating, outages: str | None = None) -> Link:
    """Return the connection of a migration over a way. Raises `InputError` as `link_args_of`."""
    return Link(**link_args_of(way, migrating, outages))  # type: ignore[arg-type]


def outages_after(fleet: Fleet, way: Path, start: float) -> str | None:
    """Return when a way is down, in seconds after ``start``, as `migsim.Link` takes it.

    It is while a trunk on it or the port of one of its hosts is.
    """
    parts = {*way.trunks, way.source, way.destination}
    return join_outages(_spans(fleet.failures, parts, start))


def _spans(
    failures: tuple[Failure, ...], parts: set[str], start: float
) -> list[tuple[float, float]]:
    """Return when one of the ``parts`` is down, from ``start`` on and relative to it."""
    return [
        (max(0.0, failure.at - start), failure.at + failure.lasts - start)
        for failure in failures
        if failure.kind == "down" and failure.target in parts
        and failure.at + failure.lasts > start
    ]  # fmt: skip


def _limits(crossed: Iterable[Host | Network | Trunk]) -> dict[str, int]:
    return {
        f"{type(item).__name__.lower()} {item.name}": item.most_migrations
        for item in crossed
        if item.most_migrations is not None
    }


def _any_of(chances: Iterable[float]) -> float:
    """Return the chance that one of independent events happens; of a single one, exactly its."""
    found = 0.0
    for chance in chances:
        found += chance * (1.0 - found)
    return found


def _port(fleet: Fleet, host: Host) -> float:
    return fleet.networks[host.network].rate if host.rate is None else host.rate


def _towards(trunk: Trunk, network: str) -> str:
    return f"{trunk.name} to {network}"


def _other_end(trunk: Trunk, network: str) -> str:
    return trunk.second if network == trunk.first else trunk.first


def _trunks(fleet: Fleet, first: str, last: str) -> tuple[str, ...] | None:
    """Return the trunks of the best way between two networks (Dijkstra 1959), None if none."""
    waiting: list[tuple[float, int, tuple[str, ...], str]] = [(0.0, 0, (), first)]
    done: set[str] = set()
    while waiting:
        rtt, hops, names, here = heapq.heappop(waiting)
        if here == last:
            return names
        if here in done:
            continue
        done.add(here)
        for trunk in fleet.trunks.values():
            if here in {trunk.first, trunk.second}:
                there = _other_end(trunk, here)
                heapq.heappush(waiting, (rtt + trunk.rtt, hops + 1, (*names, trunk.name), there))
    return None
