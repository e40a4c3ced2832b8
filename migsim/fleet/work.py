"""Fleets as work of a sweep: one evacuation of a host, or one migration with a fault, to a row."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from migsim.codec_costs import digest_of_costs
from migsim.errors import InputError, last_line
from migsim.fleet.describe import digest
from migsim.fleet.evacuation import Order, in_order, name_of
from migsim.fleet.fate import Ending
from migsim.fleet.forecast import Forecast
from migsim.fleet.jobs import evacuees
from migsim.fleet.manager import Manager
from migsim.fleet.model import Evacuate, Fleet, Vm
from migsim.fleet.positions import Positions
from migsim.fleet.requests import Attempt, Request
from migsim.fleet.scenario import read_scenario
from migsim.fleet.trip import make_trip
from migsim.parameters import Scalar
from migsim.registry import digest_of, find
from migsim.task import MODEL_VERSION, Arguments, key_of
from migsim.units import parse

__all__ = ["EvacuationTask", "ResolvedEvacuation"]


@dataclass(frozen=True, kw_only=True)
class EvacuationTask:
    """The evacuation of a host by one algorithm, in one order.

    Attributes:
        scenario: the TOML file of the fleet; its first evacuation says which host is emptied.
        algorithm, algorithm_args: how machines migrate that have no way of their own.
        rate: of every host's port, as a text with a unit; "" for what the file says.
        memory_share: of its memory that each machine has: for sweeps of small machines.
        order: in which machines go (`migsim.fleet.evacuation.Order`).
        concurrency: migrations at a time.
        minimise: what the order ``quiet`` is to make small: ``time``, ``downtime`` or ``traffic``.
        planned_on: the seed of the machines by which that order is planned; None for the seed
            itself, that is, for predictions of these very machines. With another seed, a plan knows
            what programs run, and not what they are at.
        seed: chooses what the machines do, and the random order; 0 is as in the file.
        label: a name for tables and figures; no part of the key.
    """

    scenario: str
    algorithm: str
    rate: str = ""
    memory_share: float = 1.0
    order: Order = "listed"
    concurrency: int = 1
    minimise: Literal["time", "downtime", "traffic"] = "time"
    planned_on: int | None = None
    seed: int = 0
    algorithm_args: Arguments = ()
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "algorithm_args", tuple(sorted(dict(self.algorithm_args).items())))

    def resolve(self) -> ResolvedEvacuation:
        """Return the evacuation with its fleet. Raises `InputError`."""
        if self.order not in get_args(Order):
            raise InputError(
                f"evacuation: order is {self.order!r}, expected {', '.join(get_args(Order))}"
            )
        if not 0 < self.memory_share <= 1:
            raise InputError(
                f"evacuation: memory_share is {self.memory_share!r}, expected above 0 and at most 1"
            )
        if self.concurrency < 1:
            raise InputError(f"evacuation: concurrency is {self.concurrency}, expected 1 or more")
        whole = _read(self.scenario, _modified(self.scenario))
        jobs = [job for job in whole.jobs if isinstance(job, Evacuate)]
        if not jobs:
            raise InputError(f"{self.scenario}: has no [[evacuate]], expected one or more")
        job = dataclasses.replace(jobs[0], minimise=self.minimise)
        fleet = dataclasses.replace(self._varied(whole), jobs=())
        there = [vm for vm in fleet.vms.values() if vm.host == job.host]
        other = next(name for name in fleet.hosts if name != job.host)
        for vm in there[:1]:
            make_trip(fleet, vm, job.host, other, 0.0)  # so that it is told what does not fit
        return ResolvedEvacuation(self, fleet, job)

    def _varied(self, fleet: Fleet) -> Fleet:
        """Return the fleet of the file with these settings."""
        rate = parse(self.rate, "byte rate") if self.rate else None
        vms = {
            name: dataclasses.replace(
                vm,
                memory=int(vm.memory * self.memory_share),
                seed=vm.seed + self.seed * len(fleet.vms),  # another one for each of each seed
            )
            for name, vm in fleet.vms.items()
        }
        networks = {
            name: network if rate is None else dataclasses.replace(network, rate=rate)
            for name, network in fleet.networks.items()
        }
        migrating = dataclasses.replace(
            fleet.migrating, algorithm=self.algorithm, algorithm_args=dict(self.algorithm_args)
        )
        return dataclasses.replace(
            fleet, seed=fleet.seed + self.seed, vms=vms, networks=networks, migrating=migrating
        )


@dataclass(frozen=True)
class ResolvedEvacuation:
    """An evacuation that can run.

    Attributes:
        task: what was asked for.
        fleet: all of it, with the settings of ``task`` and no jobs.
        job: the evacuation.
    """

    task: EvacuationTask
    fleet: Fleet
    job: Evacuate

    def describe(self) -> dict[str, Any]:
        """Return all that decides the outcome: the fleet and its plug-ins as digests."""
        task = self.task
        return {
            "work": "evacuation",
            "model": MODEL_VERSION,
            "algorithm": task.algorithm,
            "algorithm_args": dict(task.algorithm_args),
            "algorithm_digest": find("algorithm", task.algorithm).digest,
            "workload": self.fleet.name,
            "fleet_digest": digest(self.fleet),
            "machines_digest": _digest_of_machines(self.fleet),
            "evacuation": {
                "host": self.job.host,
                "rate": task.rate,
                "memory_share": task.memory_share,
                "order": task.order,
                "concurrency": task.concurrency,
                "minimise": task.minimise,
                "planned_on": task.planned_on,
            },
            "seed": task.seed,
        }

    @property
    def key(self) -> str:
        """The SHA-256 of what `describe` returns."""
        return key_of(self.describe())

    def run(self) -> dict[str, Scalar]:
        """Return one row: what the evacuation came to."""
        job, name = self.job, name_of(self.job)
        manager = Manager(self.fleet, concurrency={name: self.task.concurrency})
        to = evacuees(self.fleet, manager.positions, job)
        manager.want(
            *(Request(vm=vm, to=to[vm], among=job.to, job=name) for vm in self._order(manager, to))
        )
        manager.run()
        staying = [vm.name for vm in manager.positions.on(job.host)]
        return _row(manager.attempts, staying, [reason for _, reason in manager.cancelled])

    def _order(self, manager: Manager, to: dict[str, str]) -> list[str]:
        """Return the names of the machines in the order in which they go."""
        fleet, forecast = self.fleet, manager.forecast
        if self.task.order == "quiet":
            seed = self.task.seed if self.task.planned_on is None else self.task.planned_on
            fleet, forecast = _plans(
                dataclasses.replace(self.task, seed=seed, planned_on=None, concurrency=1, label=""),
                _modified(self.task.scenario),
            )
        positions = Positions(fleet, manager.state)
        vms = in_order(fleet, positions, self.job, to, self.task.order, forecast)
        return [vm.name for vm in vms]


@functools.lru_cache(maxsize=4)
def _plans(task: EvacuationTask, modified: int) -> tuple[Fleet, Forecast]:
    """Return a fleet and its predictions, made once for rows that follow one another.

    Faults are not foreseen. ``modified`` tells versions of the scenario apart.
    """
    del modified
    fleet = dataclasses.replace(task.resolve().fleet, failures=())
    return fleet, Forecast(fleet)


def _row(done: list[Attempt], staying: list[str], cancelled: list[str]) -> dict[str, Scalar]:
    """Return the measurements of an evacuation, seconds and bytes."""
    out = [one for one in done if one.ending == "completed"]
    results = [one.result for one in done]
    lost = [result.total_seconds - result.guest_seconds for result in results]
    endings = Counter(one.ending for one in done)
    why = [one.reason for one in done if one.ending != "completed"] + cancelled
    return {
        "status": "gave_up" if staying or len(out) < len(done) else "completed",
        "error": last_line(why[-1]) if why else "",
        "total_seconds": max((one.ended for one in done), default=0.0),
        "downtime_seconds": math.fsum(result.downtime_seconds for result in results),
        "bytes_sent": sum(result.bytes_sent for result in results),
        "stalled_seconds": math.fsum(result.stalled_seconds for result in results),
        "longest_downtime_seconds": max((r.downtime_seconds for r in results), default=0.0),
        "lost_seconds": math.fsum(lost),
        "mean_seconds_until_out": math.fsum(one.ended for one in out) / max(1, len(out)),
        "staying": len(staying),
        **{f"attempts_{ending}": endings[ending] for ending in get_args(Ending)},
    }


def _modified(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=8)
def _read(path: str, modified: int) -> Fleet:
    """Read a scenario once for a whole sweep; ``modified`` tells its versions apart."""
    del modified
    return read_scenario(Path(path))


def _digest_of_machines(fleet: Fleet) -> str:
    """Return a digest of the sources and files behind what machines do and how they migrate."""
    parts = {_sources(fleet, vm) for vm in fleet.vms.values()}
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _sources(fleet: Fleet, vm: Vm) -> str:
    algorithm, _ = fleet.way(vm)
    workload: Mapping[str, Any] = vm.workload_args
    costs = str(vm.vm_args.get("codec_costs", "reference"))
    return " ".join((
        find("algorithm", algorithm).digest,
        digest_of(find("workload", vm.workload), workload),
        digest_of_costs(costs),
    ))  # fmt: skip
