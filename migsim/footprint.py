"""How much memory work needs and how much there is: what runs at once has to fit into it.

An estimate is on the safe side; what work of a kind really took is learned from the first of it, so
huge guests run side by side as soon as it is known that they can.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from migsim.build import build_disk, build_vm
from migsim.errors import InputError
from migsim.task import Task
from migsim.units import KIB, MIB
from migsim.work import Job, Unit

__all__ = ["Admission", "Growth", "available_bytes", "growth_of", "needed_bytes"]

_BASE = 16 * MIB
"""Of any work: windows of accesses, curves, the row."""

_PER_PAGE = 24
"""Bytes of a page: some twenty bitmaps (2.5), classes and changes of content (5), what a delta
codec keeps of what was sent (8), and an order of pages (8)."""

_COPIES = 5
"""Of a memory with bytes: at both hosts, the truth after the hand-over, a codec's versions, and
its tables (4.1 measured)."""

_MEASURED_FROM = 128 * MIB
"""Work of which less is estimated is not worth the system calls that measure it."""

_MARGIN = 1.25
"""What is taken for the need of work whose kind took so many times less."""

_SPARE = 0.9
"""The part of the free memory that is given to work: its estimates tell of no other process."""


@functools.lru_cache(maxsize=1024)
def _estimate(
    vm_args: tuple[tuple[str, object], ...], disk_args: tuple[tuple[str, object], ...]
) -> int:
    vm = build_vm(dict(vm_args))
    need = _BASE + _PER_PAGE * vm.pages
    if vm.memory_model == "bytes":
        need += _COPIES * vm.memory
    if disk_args:
        need += _PER_PAGE * build_disk(dict(disk_args)).blocks
    return need


def needed_bytes(unit: Unit) -> int:
    """Return an upper estimate of the memory that a process needs for a unit, in bytes.

    Of work other than a migration (`migsim.work.Work`) it is the least, as nothing is known of it;
    so it is of a task that cannot run, since that ends before it needs any.
    """
    if not isinstance(unit, Task):
        return _BASE
    given = dict(unit.vm_args)
    if unit.memory is not None:
        given["memory"] = unit.memory
    try:
        return _estimate(tuple(given.items()), tuple(unit.disk_args))
    except (InputError, TypeError):
        return _BASE


def _kind(unit: Unit) -> Hashable:
    """Return what units have in common that need about equally much: all but seed and link.

    What a guest writes counts, for sets of pages take memory where they are mixed only.
    """
    if not isinstance(unit, Task):
        return type(unit)
    return repr((unit.algorithm, unit.algorithm_args, unit.workload, unit.workload_args,
                 unit.memory, unit.vm_args, unit.disk_args))  # fmt: skip


def available_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the memory that new work may use, bytes; infinity where the system does not say.

    That is what the kernel can free, and what the control groups of this process (versions 1 and 2)
    leave of their limits.
    """
    free = [math.inf]
    with suppress(OSError, ValueError):
        free.append(_field(proc / "meminfo", "MemAvailable:"))
    with suppress(OSError, ValueError):
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if not controllers:
                free += _left(groups, place, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                free += _left(groups / "memory", place, "memory.limit_in_bytes",
                              "memory.usage_in_bytes", "total_inactive_file")  # fmt: skip
    return max(0.0, min(free))


def _left(root: Path, place: str, limit: str, usage: str, cache: str) -> Iterator[float]:
    """Yield what a group and those above it leave; what they cache of files can be freed."""
    folder = root / place.strip("/")
    for group in (folder, *folder.parents):
        with suppress(OSError, ValueError):  # "max" is no number: there is no limit
            most, used = int((group / limit).read_text()), int((group / usage).read_text())
            with suppress(OSError, ValueError):
                used -= int(_field(group / "memory.stat", cache, unit=1))
            yield float(most - used)
        if group == root:
            return


def _field(file: Path, name: str, unit: int = KIB) -> float:
    for line in file.read_text().splitlines():
        words = line.split()
        if words[0] == name:
            return float(words[1]) * unit
    raise ValueError(f"{file} has no {name}")


@dataclass
class Growth:
    """By how many bytes this process grew at most; 0 where nobody has looked."""

    bytes: int = 0


@contextmanager
def growth_of(unit: Unit, proc: Path = Path("/proc/self")) -> Iterator[Growth]:
    """Measure by how much this process grows at most in a ``with`` block that runs ``unit``.

    Only where that may be much, and where the system can tell (Linux).
    """
    growth = Growth()
    if needed_bytes(unit) < _MEASURED_FROM:
        yield growth
        return
    before = math.inf
    with suppress(OSError, ValueError):
        (proc / "clear_refs").write_text("5")  # the peak is that of what follows (proc(5))
        before = _field(proc / "status", "VmRSS:")
    yield growth
    with suppress(OSError, ValueError):
        growth.bytes = int(max(0.0, _field(proc / "status", "VmHWM:") - before))


class Admission:
    """Hands out jobs so that those under way fit into memory together; one alone always may run."""

    def __init__(
        self, jobs: Sequence[Job], available: Callable[[], float] = available_bytes
    ) -> None:
        """Take the jobs, and who tells how many bytes are free when none is under way."""
        self._missing = deque(jobs)
        self._large: deque[Job] = deque()  # those that did not fit when it was their turn
        self._available = available
        self._room = 0.0
        self._held: dict[object, deque[tuple[Unit, float]]] = {}
        self._known: dict[Hashable, float] = {}

    def under_way(self, worker: object) -> int:
        """Return how many jobs a worker has been given and not ended."""
        return len(self._held.get(worker, ()))

    @property
    def busy(self) -> bool:
        """Whether any job is under way."""
        return any(self._held.values())

    def take(self, worker: object) -> Job | None:
        """Return the next job for a worker; None where there is none, or none that fits now."""
        if not self.busy:
            self._room = _SPARE * self._available()
        if self._large and self._fits(worker, self._large[0]):
            return self._give(worker, self._large.popleft())
        while self._missing:
            job = self._missing.popleft()
            if self._fits(worker, job):
                return self._give(worker, job)
            self._large.append(job)
        return None

    def ended(self, worker: object, growth: int = 0) -> None:
        """Note that a worker has ended the first of its jobs, for which it grew by so much."""
        unit, _ = self._held[worker].popleft()
        if growth:
            kind = _kind(unit)
            self._known[kind] = max(self._known.get(kind, 0.0), float(growth))

    def _need(self, unit: Unit) -> float:
        known = self._known.get(_kind(unit)) if self._known else None
        return needed_bytes(unit) if known is None else _BASE + _MARGIN * known

    def _fits(self, worker: object, job: Job) -> bool:
        """Whether a job fits beside the others' largest: a worker is at one of its jobs at a time.

        The memory of a large job that this very worker is at is free before it begins the next.
        """
        others = [held for other, held in self._held.items() if held and other != worker]
        if not others:
            return True
        largest = sum(max(need for _, need in held) for held in others)
        return self._need(job[1]) + largest <= self._room

    def _give(self, worker: object, job: Job) -> Job:
        self._held.setdefault(worker, deque()).append((job[1], self._need(job[1])))
        return job
