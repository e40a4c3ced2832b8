"""Many tasks, wherever they run: what is missing is run, and stored as soon as it is there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from migsim.errors import InputError, SweepError
from migsim.jobs import Executor, Stopped
from migsim.store import Row, Store
from migsim.task import ResolvedTask, Task
from migsim.time_left import TimeLeft
from migsim.work import Unit
from migsim.workers import Crew

__all__ = ["Progress", "check", "collect"]

Progress = Callable[[int, int, float], None]
"""Called with the number of tasks done, the number of all, and the seconds left (NaN: unknown)."""

_ESTIMATE_SECONDS = 0.2
"""How old an estimate of the time left may be: it takes a while with thousands of scenarios."""


def check(tasks: Sequence[Unit]) -> list[str]:
    """Return the key of each task, after making sure that each can run. Raises `InputError`."""
    keys = []
    for task in tasks:
        for name in (task.algorithm, task.workload) if isinstance(task, Task) else ():
            if not isinstance(name, str):
                raise InputError(f"a sweep needs {name!r} by name, such as 'file.py:function'")
        resolved = task.resolve()
        if isinstance(resolved, ResolvedTask):
            resolved.make_workload()
        keys.append(resolved.key)
    return keys


def collect(
    tasks: Sequence[Unit],
    store: Store,
    *,
    keys: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> list[Row]:
    """Run the tasks that ``store`` does not hold yet; return a row for each task, in their order.

    They run on ``executor``, by default ``workers`` processes (default: all processors); rows and
    the file are the same whatever it is. All tasks are checked first, unless `check` was called
    before and ``keys`` is what it returned. Raises `InputError` for one that cannot run, and
    `SweepError` if those who run them are gone.
    """
    keys = check(tasks) if keys is None else keys
    by_key = dict(zip(keys, tasks, strict=True))
    missing = {key: task for key, task in by_key.items() if key not in store.rows}
    report = progress or (lambda done, total, left: None)
    done, total = len(by_key) - len(missing), len(by_key)
    report(done, total, math.nan)
    if executor is None:
        with Crew(workers) as crew:
            _run(missing, store, crew, report, total)
    elif missing:
        _run(missing, store, executor, report, total)
    store.tidy()
    return [store.rows[key] for key in keys]


def _run(
    missing: dict[str, Unit], store: Store, executor: Executor, report: Progress, total: int
) -> None:
    done = total - len(missing)
    time_left, left, estimated = TimeLeft(missing), math.nan, -math.inf
    try:
        with closing(executor.run(list(missing.items()))) as batches:
            for batch in batches:
                store.add(*(one.row for one in batch))
                for one in batch:
                    time_left.note(one.row.key, one.seconds)
                done += len(batch)
                if time.perf_counter() - estimated > _ESTIMATE_SECONDS:
                    left, estimated = time_left.seconds(), time.perf_counter()
                report(done, total, left)
    except Stopped as reason:
        raise SweepError(
            f"{reason}; {done} of {total} results are kept, run again to go on"
        ) from None
