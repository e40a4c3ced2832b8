"""Simulating settings on samples of a guest: several seeds each, on all processors."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from migsim.collect import collect
from migsim.errors import ConnectionLost, InputError, last_line
from migsim.machine import VirtualMachine
from migsim.network import Flow, Link
from migsim.parameters import Context, convert_all
from migsim.predict.candidates import Candidate
from migsim.predict.guests import Guest
from migsim.registry import find
from migsim.store import Row, Store
from migsim.task import Task
from migsim.workers import Crew

__all__ = [
    "PROBES",
    "Request",
    "Sample",
    "Scenario",
    "Search",
    "Setting",
    "run_all",
    "worst_downtime",
]

PROBES = 2
"""Samples that are looked at before the others are simulated: one for each of two processors."""

_PATIENCE = 4.0
"""Copies of the memory after whose time a migration is given up, unless a deadline is given."""
_LEAST_PATIENCE = 20.0

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One way to migrate.

    Attributes:
        candidate: the algorithm with its capabilities.
        limit: the downtime limit that it is told; None for its default.
        rate: bytes per second of the link; None for the link as it is.
        throttle: the share of their time taken from the vCPUs, from the start.
    """

    candidate: Candidate
    limit: float | None = None
    rate: float | None = None
    throttle: float = 0.0


@dataclass(frozen=True)
class Sample:
    """What one simulation came to."""

    completed: bool
    error: str
    """Why it did not complete."""
    total: float
    downtime: float
    bytes: int
    lost: float
    """Seconds that pause, faults and throttling took from the guest."""
    faults: int


@dataclass(frozen=True)
class Request:
    """A setting to be simulated with the seeds ``first`` to ``last``."""

    setting: Setting
    first: int
    last: int


Search = Generator[Sequence[Request], Sequence[tuple[Sample, ...]], T]
"""A search asks for the samples of some settings, is sent them, and returns what it has found."""


@dataclass(frozen=True)
class Scenario:
    """What a prediction is about: the guest, its machine and the link.

    Attributes:
        deadline: seconds after which a migration counts as failed; None for four times what a copy
            of the memory takes, at least 20 s.
        samples: simulations of each setting.
    """

    guest: Guest
    vm_args: Mapping[str, Any]
    vm: VirtualMachine
    link_name: str
    link_args: Mapping[str, Any]
    deadline: float | None = None
    samples: int = 5
    link: Link = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "link", self.link_of(None))

    def link_of(self, rate: float | None) -> Link:
        """Return the link, or one of another rate. Raises `InputError`."""
        plugin = find("link", self.link_name)
        given = dict(self.link_args) | ({} if rate is None else {"rate": rate})
        values = convert_all(f"link '{self.link_name}'", plugin.parameters, given, Context())
        return Link(**values)  # type: ignore[arg-type]

    def patience(self, rate: float | None = None) -> float:
        """Return the seconds after which a migration counts as failed."""
        if self.deadline is not None:
            return self.deadline
        try:
            flow = Flow(self.link_of(rate), 0.0)
            copy = flow.transmit(flow.ready, self.vm.memory - self.vm.zero_bytes)
        except ConnectionLost:
            copy = 0.0
        return max(_LEAST_PATIENCE, _PATIENCE * copy)

    def fixed_downtime(self, rate: float | None = None) -> float:
        """Return the downtime that remains of a guest that dirties nothing."""
        link = self.link_of(rate)
        return self.vm.device_bytes / link.goodput + link.one_way + self.vm.resume_seconds

    def task(self, setting: Setting, seed: int) -> Task:
        """Return one sample of a setting as a task."""
        arguments = dict(setting.candidate.arguments)
        if setting.candidate.limit and setting.limit is not None:
            arguments[setting.candidate.limit] = setting.limit
        rate = {} if setting.rate is None else {"rate": setting.rate}
        if rate and setting.candidate.bandwidth:
            arguments[setting.candidate.bandwidth] = 0  # how much is needed, not how much is let
        return Task(
            algorithm=setting.candidate.algorithm,
            algorithm_args=arguments,
            workload=self.guest.workload,
            workload_args=self.guest.arguments(self.vm.speed(setting.throttle)),
            link=self.link_name,
            link_args={**self.link_args, **rate},
            vm_args=self.vm_args,
            seed=seed,
            limit_seconds=self.patience(setting.rate),
        )


def _sample(row: Row) -> Sample:
    result = row.result
    if result["status"] in {"failed", "corrupt"}:
        last = last_line(str(result["error"]))
        raise InputError(f"algorithm '{row.task['algorithm']}' ended {result['status']}: {last}")
    late = result["status"] == "gave_up" and result["total_seconds"] >= row.task["limit_seconds"]
    return Sample(
        completed=result["status"] == "completed",
        error="not done by the deadline" if late else result["error"],
        total=result["total_seconds"],
        downtime=result["downtime_seconds"],
        bytes=result["bytes_sent"],
        lost=result["total_seconds"] - result["guest_seconds"],
        faults=result["faults"],
    )


def run_all(
    scenario: Scenario,
    searches: Sequence[Search[T]],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[T]:
    """Return what the searches find; they go on together, so that all processors have work.

    ``progress`` is told the number of simulations so far. Raises `InputError`, also where an
    algorithm fails.
    """
    found: dict[int, T] = {}
    asked: dict[int, Sequence[Request]] = {}
    done = 0

    def go_on(k: int, answer: Sequence[tuple[Sample, ...]] | None) -> None:
        try:
            asked[k] = searches[k].send(answer) if answer is not None else next(searches[k])
        except StopIteration as end:
            found[k] = end.value

    for k in range(len(searches)):
        go_on(k, None)
    with (
        tempfile.TemporaryDirectory(prefix="migsim-") as folder,
        Store(Path(folder)) as store,
        Crew(workers) as crew,
    ):
        while asked:
            wanted = {
                request: [
                    scenario.task(request.setting, seed)
                    for seed in range(request.first, request.last + 1)
                ]
                for requests in asked.values()
                for request in requests
            }
            tasks = [task for listed in wanted.values() for task in listed]
            rows = iter(collect(tasks, store, executor=crew))
            samples = {
                request: tuple(_sample(next(rows)) for _ in listed)
                for request, listed in wanted.items()
            }
            done += len(tasks)
            if progress is not None:
                progress(done)
            answered, asked = asked, {}
            for k, requests in answered.items():
                go_on(k, [samples[request] for request in requests])
    return [found[k] for k in range(len(searches))]


def worst_downtime(samples: Sequence[Sample]) -> float:
    """Return the longest downtime; infinite where a migration did not complete."""
    return max((s.downtime if s.completed else math.inf for s in samples), default=math.inf)
