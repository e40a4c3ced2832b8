"""What the processes of a sweep are handed, wherever they are, and what they hand back."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from migsim.errors import InputError
from migsim.footprint import growth_of
from migsim.simulate import execute
from migsim.store import Row
from migsim.task import ResolvedTask, key_of
from migsim.units import MIB
from migsim.work import Job

__all__ = [
    "Done",
    "Executor",
    "Job",
    "OtherSource",
    "Stopped",
    "keep_freed_memory",
    "return_freed_memory",
    "run_batch",
    "run_job",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


class Done(NamedTuple):
    """The row of a job, the real time that it took in seconds, and the memory.

    ``growth`` is by how many bytes the process grew at most; 0 where that was not measured.
    """

    row: Row
    seconds: float
    growth: int = 0


class OtherSource(InputError):  # noqa: N818 - it is told like its parent
    """The source of a plug-in, or of migsim, is not the one that a key was made of."""


class Stopped(RuntimeError):  # noqa: N818 - it is told, not programmed wrongly
    """Whoever was to run the jobs is gone; told in half a sentence."""


class Executor(Protocol):
    """Where jobs run: this process, processes beside it, or a cluster."""

    def run(self, jobs: Sequence[Job]) -> Generator[list[Done]]:
        """Run all jobs, in any order; yield what has been finished since the last time.

        Raises `InputError` for a job that cannot run, and `Stopped`. Once the iterator is closed,
        jobs that run are given up.
        """
        ...


@functools.cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory that it frees, where the C library is GNU's.

    Else every large buffer may be mapped anew, above all under Dask, whose nannies set
    MALLOC_TRIM_THRESHOLD_: small migrations then spend a quarter of their time in page faults.
    """
    with suppress(OSError, AttributeError):  # another C library
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 * MIB)
        allocator.mallopt(_M_TRIM_THRESHOLD, 256 * MIB)


def return_freed_memory() -> None:
    """Give memory that this process has freed back to the system, after work that took much."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def run_job(job: Job) -> Done:
    """Return what a job comes to. Raises `InputError` where its key would not be the wanted one."""
    key, unit = job
    started = time.perf_counter()
    resolved = unit.resolve()
    described = resolved.describe()
    if key_of(described) != key:
        raise OtherSource(
            f"the source of algorithm '{described['algorithm']}' or of workload "
            f"'{described['workload']}' was changed during the sweep; run it again"
        )
    with growth_of(unit) as growth:
        if isinstance(resolved, ResolvedTask):
            measured = execute(resolved).result.as_dict()
        else:
            measured = dict(resolved.run())
    row = Row(key, described, measured)
    _ = row.text  # made here, where there are many, and not by the one that stores it
    return Done(row, time.perf_counter() - started, growth.bytes)


def run_batch(jobs: Sequence[Job], budget: float) -> list[Done]:
    """Return what the first jobs come to, at least one, until ``budget`` seconds have passed.

    So a long migration among short ones holds up none: whoever sent the others sends them again.
    """
    done: list[Done] = []
    started = time.perf_counter()
    for job in jobs:
        done.append(run_job(job))
        if time.perf_counter() - started > budget:
            break
    return done
