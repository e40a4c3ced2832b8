"""SimGrid's linear model where guests share a link: ``data/simgrid-contention.csv``.

As `migsim.validate.linear`, but several equal guests of 4 GiB share the Gigabit, all started
together or one after another; who shares with whom decides how fast rounds shrink, and so how much
is sent at all.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from migsim.fleet.together import run_together
from migsim.validate.linear import linear_task

__all__ = ["DATA", "TOLERANCE", "ContentionRow", "compare_contention"]

DATA = Path(__file__).parents[1] / "data" / "simgrid-contention.csv"
TOLERANCE = 0.001
"""Relative difference of the total time of each guest and of the bytes of all."""


@dataclass(frozen=True)
class ContentionRow:
    """Guests of a linear writer each that share a link, by SimGrid and by us.

    Attributes:
        guests: how many.
        interval: seconds from the start of one migration to that of the next.
        dirty_rate: of each guest, bytes per second.
        simgrid_seconds, seconds: total time of each migration, SimGrid's and ours.
        simgrid_downtimes, downtimes: seconds of each.
        simgrid_bytes, bytes: sent by all of them.
    """

    guests: int
    interval: float
    dirty_rate: float
    simgrid_seconds: tuple[float, ...]
    seconds: tuple[float, ...]
    simgrid_downtimes: tuple[float, ...]
    downtimes: tuple[float, ...]
    simgrid_bytes: int
    bytes: int

    @property
    def simgrid_over(self) -> float:
        """When SimGrid's last migration ends, seconds since the first began."""
        return max(k * self.interval + took for k, took in enumerate(self.simgrid_seconds))

    @property
    def over(self) -> float:
        """When our last migration ends."""
        return max(k * self.interval + took for k, took in enumerate(self.seconds))

    @property
    def error(self) -> float:
        """The largest relative difference of a guest's time, or of the bytes of all."""
        times = zip(self.seconds, self.simgrid_seconds, strict=True)
        ratios = [ours / theirs for ours, theirs in times]
        return max(abs(ratio - 1.0) for ratio in (*ratios, self.bytes / self.simgrid_bytes))


def compare_contention() -> list[ContentionRow]:
    """Return the grid: 1 to 8 guests, 0 to 25 MB/s dirtied by each, together or 10 s apart."""
    with DATA.open(newline="") as file:
        grouped = itertools.groupby(
            csv.DictReader(file),
            key=lambda row: (row["interval"], row["guests"], row["dirty_rate"]),
        )
        return [_compare(list(rows)) for _, rows in grouped]


def _compare(rows: Sequence[dict[str, str]]) -> ContentionRow:
    first = rows[0]
    interval, dirty_rate = float(first["interval"]), float(first["dirty_rate"])
    task = linear_task(int(first["memory"]), int(first["working_set"]), dirty_rate).resolve()
    members = run_together([task] * len(rows), interval=interval)
    return ContentionRow(
        guests=len(rows),
        interval=interval,
        dirty_rate=dirty_rate,
        simgrid_seconds=tuple(float(row["seconds"]) for row in rows),
        seconds=tuple(member.result.total_seconds for member in members),
        simgrid_downtimes=tuple(float(row["downtime"]) for row in rows),
        downtimes=tuple(member.result.downtime_seconds for member in members),
        simgrid_bytes=int(first["all_sent"]),
        bytes=sum(member.result.bytes_sent for member in members),
    )
