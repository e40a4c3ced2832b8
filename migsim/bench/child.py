"""``python -m migsim.bench.child SPEC``: one case in a process of its own, for `measure.in_child`.

SPEC is JSON: the arguments of a `migsim.Task` under "task", or a `Case` for NumPy under "numpy";
with neither, only the interpreter is measured. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]

_ENOUGH = 1.0  # seconds, from which on one run says enough
_RUNS = 3


def main(text: str) -> dict[str, Any]:
    """Return what the case comes to, or why it could not be run."""
    _leave_memory_to_others()
    spec = json.loads(text)
    try:
        told = _of_numpy(spec["numpy"]) if "numpy" in spec else _of_task(spec.get("task"))
    except MemoryError:
        return {"error": "needs more memory than this machine has to spare"}
    return {**told, "peak_bytes": 1024.0 * _status("VmHWM:")}


def _of_task(arguments: dict[str, Any] | None) -> dict[str, Any]:
    if arguments is None:
        return {}
    from migsim.simulate import execute, load_kernels
    from migsim.task import Task

    task = Task(**arguments).resolve()
    load_kernels(task)
    took: list[float] = []
    while len(took) < _RUNS and sum(took) < _ENOUGH:
        started = time.perf_counter()
        result = execute(task).result
        took.append(time.perf_counter() - started)
    if result.status != "completed":
        if "MemoryError" in result.error:
            raise MemoryError
        return {"error": f"{result.status}: {(result.error.splitlines() or [''])[-1]}"}
    return {
        "seconds": min(took),
        "virtual_seconds": result.total_seconds,
        "pages_sent": result.pages_sent,
        "accesses": result.accesses,
        "rounds": result.rounds,
    }


def _of_numpy(arguments: dict[str, Any]) -> dict[str, Any]:
    from migsim.bench.cases import Case

    started = time.perf_counter()
    found = Case(**arguments).numpy()
    return {
        "seconds": time.perf_counter() - started,
        "virtual_seconds": found.total_seconds,
        "pages_sent": found.pages_sent,
        "accesses": found.accesses,
        "rounds": found.rounds,
    }


def _leave_memory_to_others() -> None:
    """Bound this process's memory by what the machine has to spare, so that nothing else dies."""
    with Path("/proc/meminfo").open() as file:
        spare = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    limit = int(spare * 1024 * 0.8)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _status(field: str) -> int:
    """Return a figure of /proc/self/status, in KiB."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
