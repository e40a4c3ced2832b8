"""Print how fast sweeps are: 10,000 small migrations on processes here and on a Dask cluster.

``python tests/benchmarks/sweep.py [MIGRATIONS]`` takes some minutes. The workers of the cluster are
separate processes with one thread each, started before the clock; kernels are compiled before.
Efficiency is the time of one process over that of N, and over N. Nothing else should run.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from migsim.cluster import connected  # noqa: E402
from migsim.collect import check, collect  # noqa: E402
from migsim.jobs import Executor  # noqa: E402
from migsim.store import Store  # noqa: E402
from migsim.sweep import axis  # noqa: E402
from migsim.task import Task  # noqa: E402
from migsim.workers import Crew  # noqa: E402

ALGORITHMS = ("stop_and_copy", "precopy", "delta", "vmotion", "hybrid", "postcopy", "qemu",
              "clairvoyant")  # fmt: skip


def migrations(count: int) -> list[Task]:
    """Return guests of 64 MiB that write 50 MB/s, under all algorithms."""
    seeds = range(-(-count // len(ALGORITHMS)))
    grid = axis("seed", seeds) * axis("workload.rate", ["50MB/s"]) * axis("algorithm", ALGORITHMS)
    return grid.tasks(workload="hotcold", memory="64MiB")[:count]


@contextmanager
def executors(count: int, kind: str) -> Iterator[Executor]:
    with ExitStack() as stack:
        if kind == "dask":
            yield stack.enter_context(connected(f"local:{count}"))
        else:
            crew = stack.enter_context(Crew(count))
            if count > 1:
                crew.members(count)
            yield crew


def processor_seconds() -> float:
    """Return the CPU time of this process and all below it, as proc(5) tells it."""
    found: dict[int, tuple[int, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found[int(path.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    ours = {os.getpid()}
    for _ in range(4):  # the fork server's and the nannies' children, too
        ours |= {pid for pid, (parent, _) in found.items() if parent in ours}
    return sum(found[pid][1] for pid in ours) / os.sysconf("SC_CLK_TCK")


def main(count: int) -> None:
    tasks = migrations(count)
    check(tasks[: len(ALGORITHMS)])
    started = time.perf_counter()
    keys = check(tasks)
    print(f"checking {count} tasks: {time.perf_counter() - started:.1f} s")
    alone = 0.0
    for kind, workers in (("local", 1), ("local", 2), ("dask", 2)):
        with (
            tempfile.TemporaryDirectory() as folder,
            Store(Path(folder)) as store,
            executors(workers, kind) as executor,
        ):
            # Kernels are loaded, and every worker has its plug-ins, before the clock starts.
            with Store(Path(folder) / "warm") as warm:
                extra = axis("seed", range(-40, 0)) * axis("algorithm", ALGORITHMS)
                collect(extra.tasks(workload="hotcold", memory="64MiB"), warm, executor=executor)
            before = processor_seconds()
            started = time.perf_counter()
            collect(tasks, store, keys=keys, executor=executor)
            took = time.perf_counter() - started
            processor = processor_seconds() - before
            digest = hashlib.sha256(store.path.read_bytes()).hexdigest()[:12]
        alone = alone or took
        print(
            f"{kind} {workers}: {took:.1f} s, {count / took:.0f} migrations/s, efficiency "
            f"{100 * alone / took / workers:.0f} %, CPU time of all processes {processor:.1f} s, "
            f"load {os.getloadavg()[0]:.1f}, file {digest}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
