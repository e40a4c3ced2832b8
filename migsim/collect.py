"""Many tasks on many processes, each result stored as soon as it is there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker

from migsim.errors import InputError
from migsim.simulate import execute
from migsim.store import Row, Store
from migsim.task import ResolvedTask, Task

__all__ = ["check", "collect", "default_workers"]

_BATCH_SECONDS = 0.2
"""Tasks are handed out in batches of about this length: long enough that handing out costs
nothing, short enough that little is lost when a worker dies."""

Progress = Callable[[int, int], None]
"""Called with the number of tasks done and the number of all."""


def default_workers() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


Job = tuple[str, Task]
"""A task with the key under which its row is wanted."""


def _rows(batch: Sequence[Job]) -> tuple[list[Row], float]:
    """Run a batch in a worker; return its rows and how long a task took."""
    started = time.perf_counter()
    rows = []
    for key, task in batch:
        resolved = task.resolve()
        if resolved.key != key:
            raise InputError(
                f"the source of algorithm '{resolved.algorithm.name}' or of workload "
                f"'{resolved.workload.name}' was changed during the sweep; run it again"
            )
        rows.append(Row(key, resolved.describe(), execute(resolved).result.as_dict()))
    return rows, (time.perf_counter() - started) / len(batch)


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
) -> list[Row]:
    """Run the tasks that ``store`` does not hold yet; return a row for each task, in their order.

    The rows are the same for any number of ``workers`` (default: all processors). All tasks are
    checked first, unless `check` was called before and ``keys`` is what it returned; raises
    `InputError` for one that cannot run, and RuntimeError if a worker dies.
    """
    keys = check(tasks) if keys is None else keys
    by_key = dict(zip(keys, tasks, strict=True))
    missing = deque((key, task) for key, task in by_key.items() if key not in store.rows)
    report = progress or (lambda done, total: None)
    count = min(default_workers() if workers is None else workers, len(missing))
    report(len(by_key) - len(missing), len(by_key))
    if count <= 1:
        while missing:
            rows, _ = _rows([missing.popleft()])
            store.add(rows[0])
            report(len(by_key) - len(missing), len(by_key))
    else:
        _run_pool(missing, store, count, lambda done: report(done, len(by_key)), len(by_key))
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


def _run_pool(
    missing: deque[Job], store: Store, workers: int, report: Callable[[int], None], total: int
) -> None:
    # A fork server: workers start clean whatever threads this process has, and share its imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["migsim.simulate"])
    done = total - len(missing)
    batch_size = 1
    pending: set[Future[tuple[list[Row], float]]] = set()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    others = set(multiprocessing.active_children())
    try:
        while missing or pending:
            while missing and len(pending) < 2 * workers:
                batch = [missing.popleft() for _ in range(min(batch_size, len(missing)))]
                with _interrupts_held():
                    pending.add(pool.submit(_rows, batch))
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            # Where a worker has died, what the others finished is kept first.
            for future in sorted(finished, key=lambda future: future.exception() is not None):
                rows, seconds = future.result()
                for row in rows:
                    store.add(row)
                done += len(rows)
                report(done)
                fair = max(1, len(missing) // (4 * workers))
                batch_size = max(1, min(fair, int(_BATCH_SECONDS / max(seconds, 1e-6))))
    except BrokenProcessPool:
        raise RuntimeError(
            f"a worker process died; {done} of {total} results are kept, run again to go on"
        ) from None
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()  # what it is at is not wanted any more
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
