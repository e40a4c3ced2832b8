"""Emptying a host: which order, and how many at a time.

Candidates are simulated as they would run, and the best one is taken: orders by size, as listed,
and one that sends each machine when it is quiet, each with several numbers of migrations at a time.
That order is the least-cost assignment of machines to turns, what a machine costs at a turn being
predicted by migsim.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from migsim._kernels.draws import random_bits
from migsim.fleet.forecast import Forecast
from migsim.fleet.manager import Manager
from migsim.fleet.model import Evacuate, Fleet, Vm
from migsim.fleet.positions import Positions
from migsim.fleet.requests import Request
from migsim.result import Result

__all__ = ["Candidate", "Order", "in_order", "name_of", "plan_evacuation", "simulate_candidate"]

_TURNS = 12
"""Instants at which the migration of each machine is predicted."""

Order = Literal["quiet", "listed", "smallest", "largest", "random"]

_ORDERS: tuple[Order, ...] = ("quiet", "listed", "smallest", "largest")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to empty a host, and what it comes to.

    Attributes:
        order, concurrency: the rule of the order, and migrations at a time.
        requests: the migrations, in order.
        seconds: until the host is empty; infinite where a machine stays.
        downtime: sum over the machines, seconds.
        traffic: bytes sent.
        staying: machines that could not leave, or would be lost on the way.
    """

    order: Order
    concurrency: int
    requests: tuple[Request, ...]
    seconds: float
    downtime: float
    traffic: int
    staying: int

    def costs(self, job: Evacuate) -> tuple[float, ...]:
        """Return what is minimised, first the machines that stay; ties are broken by the rest."""
        rest = {"time": self.seconds, "downtime": self.downtime, "traffic": float(self.traffic)}
        return (self.staying, rest.pop(job.minimise), *rest.values())


def plan_evacuation(
    fleet: Fleet, positions: Positions, job: Evacuate, to: dict[str, str]
) -> list[Candidate]:
    """Return the candidates for a job that starts now, the best first.

    The number of migrations at a time matters most, so it is chosen with the first order, and the
    others are tried with that. ``to`` names the destination of each machine. Faults are not
    foreseen, and what is under way is taken to have arrived.
    """
    calm = dataclasses.replace(fleet, failures=(), jobs=())
    positions = Positions(calm, positions.state.settled())
    forecast = Forecast(calm)

    def simulated(order: Order, concurrency: int) -> Candidate:
        return simulate_candidate(calm, positions, job, to, order, concurrency, forecast)

    def costs(candidate: Candidate) -> tuple[float, ...]:
        return candidate.costs(job)

    first, *others = _ORDERS if job.order == "best" else (job.order,)
    found = [simulated(first, number) for number in _numbers(fleet, positions, job)]
    best = min(found, key=costs)
    found += [simulated(order, best.concurrency) for order in others]
    return sorted(found, key=costs)


def _numbers(fleet: Fleet, positions: Positions, job: Evacuate) -> list[int]:
    """Return the numbers of migrations at a time that are worth a try: 1, 2, 4 ... to the most."""
    if job.concurrency is not None:
        return [job.concurrency]
    most = min(fleet.hosts[job.host].most_migrations, max(1, len(positions.on(job.host))))
    return sorted({min(2**k, most) for k in range(most.bit_length() + 1)})


def simulate_candidate(
    fleet: Fleet,
    positions: Positions,
    job: Evacuate,
    to: dict[str, str],
    order: Order,
    concurrency: int,
    forecast: Forecast,
) -> Candidate:
    """Return what emptying a host in an order comes to, so many migrations at a time."""
    now = positions.state.at
    vms = in_order(fleet, positions, job, to, order, forecast)
    requests = tuple(
        Request(
            vm=vm.name,
            to=to.get(vm.name, ""),
            among=job.to,
            movable=True,
            job=name_of(job),
            not_before=now,
        )
        for vm in vms
    )
    manager = Manager(fleet, state=positions.state, concurrency={name_of(job): concurrency})
    manager.want(*requests)
    manager.run()
    staying = sum(manager.positions.host_of(vm.name) in {"", job.host} for vm in vms)
    done = manager.attempts
    return Candidate(
        order=order,
        concurrency=concurrency,
        requests=requests,
        seconds=math.inf if staying else max((one.ended for one in done), default=now) - now,
        downtime=math.fsum(one.result.downtime_seconds for one in done),
        traffic=sum(one.result.bytes_sent for one in done),
        staying=staying,
    )


def name_of(job: Evacuate) -> str:
    """Return the name under which a job's migrations are recorded."""
    return f"evacuate {job.host}"


def in_order(
    fleet: Fleet,
    positions: Positions,
    job: Evacuate,
    to: dict[str, str],
    order: Order,
    forecast: Forecast,
) -> Sequence[Vm]:
    """Return the machines on a host in the order in which they shall leave."""
    vms = positions.on(job.host)
    if order == "smallest":
        return sorted(vms, key=lambda vm: vm.memory)
    if order == "largest":
        return sorted(vms, key=lambda vm: -vm.memory)
    if order == "random":
        seed = np.uint64(fleet.seed % 2**64)
        place = {vm.name: k for k, vm in enumerate(fleet.vms.values())}
        return sorted(vms, key=lambda vm: int(random_bits(seed, place[vm.name])))
    if order == "quiet":
        return _when_quiet(vms, job, to, positions.state.at, forecast)
    return vms


def _when_quiet(
    vms: list[Vm], job: Evacuate, to: dict[str, str], now: float, forecast: Forecast
) -> list[Vm]:
    """Return the order in which the sum of what machines cost is least, by prediction.

    The host is taken to be emptied at an even pace: turn k of n begins after k/n of the time that
    all migrations take by themselves.
    """
    movable = [vm for vm in vms if vm.name in to]
    rest = [vm for vm in vms if vm.name not in to]
    if len(movable) < 2:
        return movable + rest
    measure: Callable[[Result], float] = {
        "time": lambda result: result.total_seconds,
        "downtime": lambda result: result.downtime_seconds,
        "traffic": lambda result: float(result.bytes_sent),
    }[job.minimise]

    def predicted(vm: Vm, at: float) -> Result:
        return forecast.of(vm, job.host, to[vm.name], at)

    whole = math.fsum(predicted(vm, now).total_seconds for vm in movable)
    instants = now + whole * np.arange(_TURNS) / _TURNS
    table = np.array([[measure(predicted(vm, float(at))) for at in instants] for vm in movable])
    turns = np.arange(len(movable)) * _TURNS // len(movable)
    _, turn_of = linear_sum_assignment(table[:, turns])
    return [movable[k] for k in np.argsort(turn_of)] + rest
