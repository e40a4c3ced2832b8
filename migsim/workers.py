"""Processes on this machine that run the jobs of a sweep."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self

from migsim.footprint import Admission
from migsim.interrupts import interrupts_held
from migsim.jobs import Done, Job, Stopped, keep_freed_memory, return_freed_memory, run_job

__all__ = ["Crew", "default_workers"]

_SHORT_SECONDS = 0.05
"""After a migration of less real time than that, a worker gets the next one while it is at one: so
it need not wait for this process, and no long migration waits for another."""

_STORE_SECONDS = 0.1
"""For how long results are gathered before they are stored: a disk takes milliseconds each time."""

_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""The environment in which workers load NumPy and what is beside it: each has one processor, and
libraries would start as many threads as there are, in every worker."""

_Answer = Done | Exception


def default_workers() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _end_with_parent() -> None:
    """Make a worker end once the sweep's process is gone: kill -9 leaves nobody to tell it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve(connection: Connection) -> None:
    """Answer jobs with what they come to until there are no more: what a worker does."""
    _end_with_parent()
    keep_freed_memory()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            answer: _Answer = run_job(job)
        except Exception as error:
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
            answer = error
        connection.send(answer)
        if isinstance(answer, Done) and answer.growth:
            return_freed_memory()


class Crew:
    """An executor of processes, which stay for several sweeps: starting them takes half a second.

    They are started when they are first needed, and end with the ``with`` block. A single job, or
    a crew of one, needs no process but this one.
    """

    def __init__(self, workers: int | None = None) -> None:
        """Take the number of processes; default: all processors."""
        self._count = default_workers() if workers is None else workers
        self._members: dict[Connection, BaseProcess] = {}

    def members(self, count: int) -> dict[Connection, BaseProcess]:
        """Return ``count`` workers, started if need be, also in place of those that have died."""
        for pipe, worker in list(self._members.items()):
            if not worker.is_alive():
                pipe.close()
                worker.join()
                del self._members[pipe]
        while len(self._members) < count:
            _start_worker(self._members)
        return dict(list(self._members.items())[:count])

    def run(self, jobs: Sequence[Job]) -> Generator[list[Done]]:
        """Run the jobs, as `migsim.jobs.Executor` says.

        Each worker has a pipe of its own, and no thread here shares a lock with another: so a
        worker may die, and Ctrl-C may come, at any moment. An executor of the standard library can
        then wait for ever.
        """
        count = min(self._count, len(jobs))
        if count <= 1:
            yield from _run_here(jobs)
            return
        try:
            yield from _hand_out(Admission(jobs), self.members(count))
        except BaseException:
            self.end(kill=True)  # what they are at is not wanted any more
            raise

    def end(self, *, kill: bool = False) -> None:
        """End all workers, those that are at work only if they are to be killed."""
        for worker in self._members.values() if kill else ():
            worker.kill()
        for pipe, worker in self._members.items():
            pipe.close()
            worker.join()
        self._members.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(kill=error is not None)


def _run_here(jobs: Sequence[Job]) -> Generator[list[Done]]:
    done: list[Done] = []
    stored = time.perf_counter()
    for job in jobs:
        try:
            done.append(run_job(job))
        except Exception:
            if done:
                yield done
            raise
        if time.perf_counter() - stored > _STORE_SECONDS:
            yield done
            done, stored = [], time.perf_counter()
    if done:
        yield done


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for processes that are started in a ``with`` block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker(crew: dict[Connection, BaseProcess]) -> None:
    # A fork server: workers start clean whatever threads this process has, and share its imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["migsim.jobs"])
    here, there = context.Pipe()
    with interrupts_held():
        with _environment(_ONE_THREAD):
            forkserver.ensure_running()
        worker = context.Process(target=_serve, args=(there,))
        worker.start()
        crew[here] = worker
    there.close()  # so that its end is seen


def _hand_out(missing: Admission, crew: dict[Connection, BaseProcess]) -> Generator[list[Done]]:
    died = False

    def give(pipe: Connection, jobs: int) -> None:
        while missing.under_way(pipe) < jobs and (job := missing.take(pipe)) is not None:
            pipe.send(job)

    for pipe in crew:
        try:
            give(pipe, 1)
        except OSError:
            died = True
    done: list[Done] = []
    due = math.inf  # when what is done has to be stored
    wrong: Exception | None = None
    while wrong is None and not died and missing.busy:
        patience = max(0.0, due - time.monotonic()) if done else None
        ready = wait([pipe for pipe in crew if missing.under_way(pipe)], patience)
        for pipe in (pipe for pipe in crew if pipe in ready):
            try:
                answer: _Answer = pipe.recv()
                if isinstance(answer, Exception):
                    wrong = answer
                    continue
                due = due if done else time.monotonic() + _STORE_SECONDS
                done.append(answer)
                missing.ended(pipe, answer.growth)
                give(pipe, 2 if answer.seconds < _SHORT_SECONDS else 1)
                for idle in crew:  # those for which there was no memory
                    give(idle, 1)
            except (EOFError, OSError):  # the latter where it died within a message
                died = True  # what the others have finished is kept before that is told
        if done and time.monotonic() >= due:
            yield done
            done = []
    if done:
        yield done
    if wrong is not None:
        raise wrong
    if died:
        raise Stopped("a worker process died")
