"""Timing: functions take turns and share a machine's busy moments, and the best turn counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Measured", "best", "best_prepared", "environment", "in_child", "seconds"]

_BUDGET = 4.0  # seconds of turns, after which no further one begins
_CHILD_SECONDS = 900.0


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def best(*functions: Callable[[], object], runs: int = 5, budget: float = _BUDGET) -> list[float]:
    """Return the shortest time of each function in seconds, after a turn that is not counted.

    They take turns, ``runs`` of them, fewer where those take longer than ``budget`` seconds; a
    first turn that alone is as long counts, and is the only one.
    """
    prepared = [lambda function=function: function for function in functions]
    return best_prepared(*prepared, runs=runs, budget=budget)


def best_prepared(
    *makers: Callable[[], Callable[[], object]], runs: int = 5, budget: float = _BUDGET
) -> list[float]:
    """Return the shortest times of the functions that ``makers`` make anew for each turn.

    As `best`; what is made is not timed.
    """
    turns: list[list[float]] = []
    spent = 0.0
    while len(turns) <= runs and spent < budget:
        turns.append([seconds(make()) for make in makers])
        spent += sum(turns[-1])
    counted = turns[1:] or turns
    return [min(times) for times in zip(*counted, strict=True)]


class Measured(NamedTuple):
    """What a migration in a process of its own came to.

    Attributes:
        seconds: of real time, kernels loaded before, the best of the runs.
        peak_bytes: the most resident memory that the process ever had.
        told: what the case itself tells: virtual_seconds, pages_sent, accesses, rounds.
        error: why it did not end; all else is then zero.
    """

    seconds: float = 0.0
    peak_bytes: float = 0.0
    told: dict[str, float] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    error: str = ""


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a child that imports the same migsim as this process."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **changes}


def in_child(spec: dict[str, Any], *, limit: float = _CHILD_SECONDS) -> Measured:
    """Return what `migsim.bench.child` measures of a case in a fresh process.

    Its peak memory is its own: what getrusage tells of a child includes what the parent held at
    the fork. A case that takes more than ``limit`` seconds is ended.
    """
    command = [sys.executable, "-m", "migsim.bench.child", json.dumps(spec)]
    try:
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return Measured(error=f"ended after {limit:g} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
        return Measured(error=last)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return Measured(error=f"said {done.stdout!r}, expected JSON")
    return Measured(
        found.pop("seconds", 0.0), found.pop("peak_bytes", 0.0), error=found.pop("error", ""),
        told=found,
    )  # fmt: skip
