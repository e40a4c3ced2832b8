"""Profiles as text, one file a case: where real time goes, by each function's own time.

Compiled kernels appear as functions of their own, since numba tells the profiler of them. Shares
and calls are what to compare; seconds under a profiler are more than without.
"""

from __future__ import annotations

import cProfile
import pstats
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from migsim.simulate import execute, load_kernels
from migsim.task import ResolvedTask, Task
from migsim.units import format_seconds

__all__ = ["CASES", "profile", "write_profiles"]

_LEAST_SHARE = 0.005  # of all time, below which a function goes unmentioned
_MOST_LINES = 30
_SWEEP_TASKS = 40


def _task(algorithm: str, memory: str, link: str, **workload_args: Any) -> Task:
    return Task(algorithm=algorithm, workload="uniform", link=link, memory=memory,
                workload_args=workload_args)  # fmt: skip


CASES: dict[str, tuple[str, Task, int]] = {
    "small": ("pre-copy of 64 MiB, 1 Gbit/s",
              _task("precopy", "64MiB", "gigabit"), 1),
    "precopy-64gib": ("pre-copy of 64 GiB, 100 k writes/s in 16 GiB, 10 Gbit/s",
                      _task("precopy", "64GiB", "10g", rate=1e5), 1),
    "precopy-1tib": ("pre-copy of 1 TiB, 1 M writes/s, 25 Gbit/s",
                     _task("precopy", "1TiB", "25g", rate=1e6), 1),
    "postcopy-16gib": ("post-copy of 16 GiB, 100 k writes/s in 4 GiB, 10 Gbit/s",
                       _task("postcopy", "16GiB", "10g", rate=1e5), 1),
    "sweep-task": (f"{_SWEEP_TASKS} tasks of a sweep as a worker runs them: resolved, run, a row",
                   Task(algorithm="precopy", workload="hotcold", memory="64MiB",
                        workload_args={"rate": "50MB/s"}), _SWEEP_TASKS),
}  # fmt: skip
"""Name of the file -> what is profiled, the task, and how many times it is run."""


def write_profiles(
    folder: Path,
    cases: Mapping[str, tuple[str, Task, int]] | None = None,
    tell: Callable[[Path], object] = lambda path: None,
) -> None:
    """Write ``NAME.txt`` into an existing folder for each case, and ``tell`` of each."""
    for name, (words, task, times) in (CASES if cases is None else cases).items():
        path = folder / f"{name}.txt"
        path.write_text(profile(words, task, times))
        tell(path)


def profile(words: str, task: Task, times: int = 1) -> str:
    """Return where the time of a task goes, kernels loaded and everything run once before."""
    resolved = task.resolve()
    load_kernels(resolved)
    run = _once(resolved) if times == 1 else _sweep(task, times)
    if times > 1 or resolved.vm.pages < 1 << 20:
        run()  # caches that a process fills but once
    profiler = cProfile.Profile()
    profiler.enable()
    told = run()
    profiler.disable()
    return f"{words}\n{told}\n\n{_table(pstats.Stats(profiler))}"


def _once(task: ResolvedTask) -> Callable[[], str]:
    def run() -> str:
        result = execute(task).result
        return (
            f"{result.status} in {format_seconds(result.total_seconds)} of virtual time: "
            f"{result.rounds} rounds, {result.pages_sent} pages, {result.accesses} accesses, "
            f"{result.acts} acts"
        )

    return run


def _sweep(task: Task, times: int) -> Callable[[], str]:
    from migsim.jobs import run_job

    def run() -> str:
        done = [run_job((task.key, task)) for _ in range(times)]
        return f"{len(done)} rows"

    return run


def _table(stats: pstats.Stats) -> str:
    raw: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = vars(stats)["stats"]
    total = sum(own for _, _, own, _, _ in raw.values()) or 1.0
    lines = [f"{format_seconds(total)} under the profiler", "", _HEAD]
    ordered = sorted(raw.items(), key=lambda item: -item[1][2])
    for place, (_, calls, own, whole, _) in ordered[:_MOST_LINES]:
        if own >= _LEAST_SHARE * total:
            lines.append(
                f"{own / total:>7.1%} {1e3 * own:>10.2f} {1e3 * whole:>10.2f} {calls:>9}  "
                f"{_name(*place)}"
            )
    return "\n".join(lines) + "\n"


_HEAD = f"{'own':>7} {'own ms':>10} {'whole ms':>10} {'calls':>9}  function"


def _name(file: str, line: int, function: str) -> str:
    """Return where a function is, without what differs between machines."""
    if file in {"~", ""}:
        return re.sub(r" at 0x[0-9a-f]+", "", function)
    parts = Path(file).parts
    for top in ("migsim", "algorithms", "workloads", "site-packages"):
        if top in parts:
            start = len(parts) - parts[::-1].index(top) - (top != "site-packages")
            return f"{'/'.join(parts[start:])}:{function}"
    return f"{parts[-1]}:{function}"
