"""One machine on its way from host to host: the task that it is, and what it shares."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from migsim.fleet.conductor import Crossing
from migsim.fleet.model import Failure, Fleet, Vm
from migsim.fleet.topology import Path, link_of, outages_after, path
from migsim.network import Link, round_trip_weight
from migsim.task import ResolvedTask, Task

__all__ = ["Trip", "make_trip"]


@dataclass(frozen=True)
class Trip:
    """A migration that is about to start.

    Attributes:
        path: from host to host.
        task: the migration as if it had the path for itself.
        crossing: what it shares with others.
        crash: the first crash of one of its hosts from now on; None where there is none.
    """

    path: Path
    task: ResolvedTask
    crossing: Crossing
    crash: Failure | None


def make_trip(
    fleet: Fleet, vm: Vm, source: str, destination: str, now: float, *, part: float = 1.0
) -> Trip:
    """Return the migration of ``vm`` that starts ``now``, over ``part`` of the path's rate.

    It ends at the latest when one of its hosts crashes. Raises `InputError` for parameters that do
    not go together.
    """
    way = path(fleet, source, destination)
    link = link_of(way, fleet.migrating, outages_after(fleet, way, now))
    link = dataclasses.replace(link, rate=part * link.rate)
    crash = min(
        (
            failure for failure in fleet.failures
            if failure.kind == "crash" and failure.target in {source, destination}
            and failure.at > now
        ),
        key=lambda failure: failure.at, default=None,
    )  # fmt: skip
    limit = fleet.migrating.limit_seconds
    algorithm, arguments = fleet.way(vm)
    task = Task(
        algorithm=algorithm,
        algorithm_args=arguments,
        workload=vm.workload,
        workload_args=vm.workload_args,
        link="custom",
        link_args=vars(link),
        memory=vm.memory,
        vm_args={"vcpus": vm.vcpus, **vm.vm_args},
        client_args=_clients(vm, way),
        disk_args=_disk(fleet, vm, source, destination),
        age=now,
        seed=vm.seed,
        limit_seconds=limit if crash is None else min(limit, crash.at - now),
    ).resolve()
    crossing = Crossing(
        links=way.links,
        rate=link.rate,
        weight=link.streams * round_trip_weight(link.congestion, link.rtt),
        demand=_demand(link),
        processor=source,
    )
    return Trip(way, task, crossing, crash)


def _clients(vm: Vm, way: Path) -> dict[str, Any]:
    """Return who talks to a machine: where it leaves its network, from the old site."""
    if vm.client_args or not way.trunks:
        return dict(vm.client_args)
    return {"reach": "sites", "sites_rtt": way.rtt}


def _disk(fleet: Fleet, vm: Vm, source: str, destination: str) -> dict[str, Any]:
    """Return a machine's disk: shared where both hosts reach its datastore."""
    if not vm.disk_args:
        return {}
    reach = (fleet.hosts[source].storage, fleet.hosts[destination].storage)
    return {**vm.disk_args, "shared": all(vm.datastore in stores for stores in reach)}


def _demand(link: Link) -> float:
    """Return the bytes per second on the wire that a connection's buffers allow it to send."""
    if link.plain or link.rtt <= 0:
        return math.inf
    return link.streams * link.buffer / link.rtt * link.packet / link.segment
