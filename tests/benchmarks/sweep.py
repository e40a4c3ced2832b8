"""Print how fast sweeps are: 10,000 small migrations on processes here and on a Dask cluster.

``python tests/benchmarks/sweep.py [MIGRATIONS]`` takes some minutes. The workers of the cluster are
separate processes with one thread each, started before the clock; kernels are compiled before.
Efficiency is the time of one process over that of N, and over N. Nothing else should run.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


PARTS = 5
"""The migrations are run in so many parts, each by all in turn: a machine's speed drifts."""


def main(count: int) -> None:
    tasks = migrations(count)
    check(tasks[: len(ALGORITHMS)])
    started = time.perf_counter()
    keys = check(tasks)
    print(f"checking {count} tasks: {time.perf_counter() - started:.1f} s")
    kinds = (("local", 1), ("local", 2), ("dask", 2))
    took: dict[tuple[str, int], list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stores = {
            kind: stack.enter_context(Store(Path(folder) / f"{kind[0]}{kind[1]}")) for kind in kinds
        }
        for part in range(PARTS):
            for kind in kinds:
                with executors(kind[1], kind[0]) as executor:
                    # Every worker has its kernels and plug-ins before the clock starts.
                    with Store(Path(folder) / f"warm {kind} {part}") as warm:
                        extra = axis("seed", range(-40, 0)) * axis("algorithm", ALGORITHMS)
                        collect(extra.tasks(workload="hotcold", memory="64MiB"), warm,
                                executor=executor)  # fmt: skip
                    started = time.perf_counter()
                    collect(tasks[part::PARTS], stores[kind], keys=keys[part::PARTS],
                            executor=executor)  # fmt: skip
                    took[kind].append(time.perf_counter() - started)
        for kind, seconds in took.items():
            ratios = [one / other for one, other in zip(took[kinds[0]], seconds, strict=True)]
            digest = hashlib.sha256(stores[kind].path.read_bytes()).hexdigest()[:12]
            print(
                f"{kind[0]} {kind[1]}: {sum(seconds):.1f} s, {count / sum(seconds):.0f} "
                f"migrations/s, efficiency {100 * statistics.median(ratios) / kind[1]:.0f} % "
                f"(median of {PARTS}), file {digest}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
