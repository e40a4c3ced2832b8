"""Many tasks on many processes, each result stored as soon as it is there."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from migsim.errors import InputError
from migsim.simulate import execute
from migsim.store import Row, Store
from migsim.task import ResolvedTask, Task

__all__ = ["collect", "default_workers"]

_BATCH_SECONDS = 0.2
"""Tasks are handed out in batches of about this length: long enough that handing out costs
nothing, short enough that little is lost when a worker dies."""

Progress = Callable[[int, int], None]
"""Called with the number of tasks done and the number of all."""


def default_workers() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _rows(batch: Sequence[Task]) -> tuple[list[Row], float]:
    """Run a batch in a worker; return its rows and how long a task took."""
    started = time.perf_counter()
    rows = []
    for task in batch:
        resolved = task.resolve()
        rows.append(Row(resolved.key, resolved.describe(), execute(resolved).result.as_dict()))
    return rows, (time.perf_counter() - started) / len(batch)


def _keys(tasks: Sequence[Task]) -> list[str]:
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
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Run the tasks that ``store`` does not hold yet; return a row for each task, in their order.

    The rows are the same for any number of ``workers`` (default: all processors). All tasks are
    checked first; raises `InputError` for one that cannot run, and RuntimeError if a worker dies.
    """
    keys = _keys(tasks)
    by_key = dict(zip(keys, tasks, strict=True))
    missing = deque(task for key, task in by_key.items() if key not in store.rows)
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


def _run_pool(
    missing: deque[Task], store: Store, workers: int, report: Callable[[int], None], total: int
) -> None:
    # A fork server: workers start clean whatever threads this process has, and share its imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["migsim.simulate"])
    done = total - len(missing)
    batch_size = 1
    pending: set[Future[tuple[list[Row], float]]] = set()
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        while missing or pending:
            while missing and len(pending) < 2 * workers:
                batch = [missing.popleft() for _ in range(min(batch_size, len(missing)))]
                pending.add(pool.submit(_rows, batch))
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
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
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
