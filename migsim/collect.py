"""Many tasks on many processes, each result stored as soon as it is there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self

from migsim.errors import InputError, SweepError
from migsim.simulate import execute
from migsim.store import Row, Store
from migsim.task import ResolvedTask, Task

__all__ = ["Crew", "check", "collect", "default_workers"]

_SHORT_SECONDS = 0.05
"""After a migration of less real time than that, a worker gets the next one while it is at one: so
it need not wait for the disk, and no long migration waits for another."""

Progress = Callable[[int, int], None]
"""Called with the number of tasks done and the number of all."""


def default_workers() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


Job = tuple[str, Task]
"""A task with the key under which its row is wanted."""

_Answer = tuple[Row, float] | Exception
"""The row of a job and the real time that it took."""


def _row(job: Job) -> Row:
    key, task = job
    resolved = task.resolve()
    if resolved.key != key:
        raise InputError(
            f"the source of algorithm '{resolved.algorithm.name}' or of workload "
            f"'{resolved.workload.name}' was changed during the sweep; run it again"
        )
    return Row(key, resolved.describe(), execute(resolved).result.as_dict())


def check(tasks: Sequence[Task]) -> list[str]:
    """Return the key of each task, after making sure that each can run. Raises `InputError`."""
    keys = []
    for task in tasks:
        for name in (task.algorithm, task.workload):
            if not isinstance(name, str):
                raise InputError(f"a sweep needs {name!r} by name, such as 'file.py:function'")
        resolved: ResolvedTask = task.resolve()
        resolved.make_workload()
        keys.append(resolved.key)
    return keys


def collect(
    tasks: Sequence[Task],
    store: Store,
    *,
    keys: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> list[Row]:
    """Run the tasks that ``store`` does not hold yet; return a row for each task, in their order.

    The rows are the same for any number of ``workers`` (default: all processors). All tasks are
    checked first, unless `check` was called before and ``keys`` is what it returned; raises
    `InputError` for one that cannot run, and `SweepError` if a worker dies. A ``crew`` lends its
    workers, and keeps them for the next call.
    """
    keys = check(tasks) if keys is None else keys
    by_key = dict(zip(keys, tasks, strict=True))
    missing = deque((key, task) for key, task in by_key.items() if key not in store.rows)
    report = progress or (lambda done, total: None)
    count = min(default_workers() if workers is None else workers, len(missing))
    report(len(by_key) - len(missing), len(by_key))
    if count <= 1:
        while missing:
            store.add(_row(missing.popleft()))
            report(len(by_key) - len(missing), len(by_key))
    else:
        with nullcontext(crew) if crew is not None else Crew() as workers_of:
            _run_pool(
                missing, store, workers_of, count, lambda done: report(done, len(by_key)),
                len(by_key),
            )  # fmt: skip
    return [store.rows[key] for key in keys]


def _end_with_parent() -> None:
    """Make a worker end once the sweep's process is gone: kill -9 leaves nobody to tell it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C until the end; a process that starts meanwhile never hears it.

    A terminal sends Ctrl-C to workers too, where it would end in tracebacks; stopping them is the
    sweep's affair, and it can stop only those whose start it has seen the end of.
    """
    resource_tracker.ensure_running()  # where it has to start, it lets Ctrl-C through
    came = False

    def remember(number: int, frame: object) -> None:
        nonlocal came
        came = True

    # The mask is what processes inherit; but other threads have their own, so it is not enough.
    handler = signal.getsignal(signal.SIGINT)
    holds = callable(handler) and threading.current_thread() is threading.main_thread()
    if holds:
        signal.signal(signal.SIGINT, remember)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if holds:
            signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


def _serve(connection: Connection) -> None:
    """Answer jobs with their rows until there are no more: what a worker does."""
    _end_with_parent()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        started = time.perf_counter()
        try:
            answer: _Answer = (_row(job), time.perf_counter() - started)
        except Exception as error:
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
            answer = error
        connection.send(answer)


class Crew:
    """Workers that stay for several calls of `collect`, since starting them takes half a second.

    They are started when they are first needed, and end with the ``with`` block.
    """

    def __init__(self) -> None:
        self._members: dict[Connection, BaseProcess] = {}

    def members(self, count: int) -> dict[Connection, BaseProcess]:
        """Return ``count`` workers, started if need be."""
        while len(self._members) < count:
            _start_worker(self._members)
        return dict(list(self._members.items())[:count])

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


def _run_pool(
    missing: deque[Job],
    store: Store,
    crew: Crew,
    workers: int,
    report: Callable[[int], None],
    total: int,
) -> None:
    """Run the missing jobs; each row is stored as soon as it is there.

    Each worker has a pipe of its own, and no thread here shares a lock with another: so a worker
    may die, and Ctrl-C may come, at any moment. An executor of the standard library can then wait
    for ever.
    """
    try:
        _hand_out(missing, store, crew.members(workers), report, total)
    except BaseException:
        crew.end(kill=True)  # what they are at is not wanted any more
        raise


def _start_worker(crew: dict[Connection, BaseProcess]) -> None:
    # A fork server: workers start clean whatever threads this process has, and share its imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["migsim.simulate"])
    here, there = context.Pipe()
    with _interrupts_held():
        worker = context.Process(target=_serve, args=(there,))
        worker.start()
        crew[here] = worker
    there.close()  # so that its end is seen


def _hand_out(
    missing: deque[Job],
    store: Store,
    crew: dict[Connection, BaseProcess],
    report: Callable[[int], None],
    total: int,
) -> None:
    done, died = total - len(missing), False
    at_work = dict.fromkeys(crew, 0)

    def give(pipe: Connection, jobs: int) -> None:
        while missing and at_work[pipe] < jobs:
            pipe.send(missing.popleft())
            at_work[pipe] += 1

    for pipe in crew:
        give(pipe, 1)
    while not died and any(at_work.values()):
        ready = wait([pipe for pipe, jobs in at_work.items() if jobs])
        for pipe in (pipe for pipe in crew if pipe in ready):
            row = None
            try:
                answer: _Answer = pipe.recv()
                if isinstance(answer, Exception):
                    raise answer
                row, seconds = answer
                at_work[pipe] -= 1
                give(pipe, 2 if seconds < _SHORT_SECONDS else 1)
            except (EOFError, ConnectionError):
                died = True  # what the others have finished is kept before that is told
            if row is not None:
                store.add(row)
                done += 1
                report(done)
    if died:
        raise SweepError(
            f"a worker process died; {done} of {total} results are kept, run again to go on"
        )
