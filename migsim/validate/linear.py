"""SimGrid's linear model as a special case of ours: ``data/simgrid.csv``.

A sequential writer dirties min(D t, W) bytes, as SimGrid's guests do, and a plain link of 0.97 of a
Gigabit sends without headers, windows and losses. With the same limit of 30 ms and no limit of
rounds, `precopy` is SimGrid's rule but for what the latency of its messages costs, and for pages.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from migsim.simulate import run
from migsim.task import Task

__all__ = ["DATA", "TOLERANCE", "LinearRow", "compare_linear", "linear_task"]

DATA = Path(__file__).parents[1] / "data" / "simgrid.csv"
TOLERANCE = 0.01
"""Relative difference of total time and of bytes."""
_GRID = {"bandwidth": "125000000", "latency": "5e-05", "link": "split", "speed": "1000000000"}
_RATE = 121.25e6  # bytes per second that SimGrid makes of a Gigabit
_PAGE = 4096


@dataclass(frozen=True)
class LinearRow:
    """One migration of a linear writer, by SimGrid and by us.

    Attributes:
        memory: bytes.
        dirty_rate: bytes per second.
        simgrid_seconds, seconds: total times, SimGrid's and ours.
        simgrid_bytes, bytes: sent.
        simgrid_downtime, downtime: seconds.
    """

    memory: int
    dirty_rate: float
    simgrid_seconds: float
    seconds: float
    simgrid_bytes: int
    bytes: int
    simgrid_downtime: float
    downtime: float

    @property
    def error(self) -> float:
        """The larger of the relative differences of time and bytes."""
        return max(
            abs(self.seconds / self.simgrid_seconds - 1.0),
            abs(self.bytes / self.simgrid_bytes - 1.0),
        )


def compare_linear() -> list[LinearRow]:
    """Return the grid over 1 Gbit/s: memory of 1 to 16 GiB, 0 to 100 MB/s dirtied."""
    with DATA.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if _GRID.items() <= row.items()]
    return [_compare(row) for row in rows]


def linear_task(memory: int, working_set: int, dirty_rate: float) -> Task:
    """Return SimGrid's migration of a guest that dirties so many bytes per second."""
    return Task(
        algorithm="precopy",
        workload="sequential",
        link="custom",
        memory=memory,
        algorithm_args={"max_downtime": 0.03, "max_rounds": 1_000_000},
        workload_args={"working_set": working_set, "rate": dirty_rate / _PAGE},
        # Without overhead there are no headers of pages either.
        link_args={"rate": _RATE, "rtt": 0, "congestion": "none", "overhead": 0},
        vm_args={"device_state": 0, "resume_seconds": 0, "sync_seconds_per_gib": 0},
    )


def _compare(row: dict[str, str]) -> LinearRow:
    memory, dirty_rate = int(row["memory"]), float(row["dirty_rate"])
    result = run(linear_task(memory, int(row["working_set"]), dirty_rate))
    return LinearRow(
        memory, dirty_rate, float(row["seconds"]), result.total_seconds, int(row["sent"]),
        result.bytes_sent, float(row["downtime"]), result.downtime_seconds,
    )  # fmt: skip
