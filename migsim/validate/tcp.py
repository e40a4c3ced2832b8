"""The round model of TCP against real Linux over emulated links: ``data/tcp-linux*.csv``."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np

from migsim._types import Floats
from migsim.errors import InputError
from migsim.network.link import SEND_LIMIT, Link
from migsim.network.transfer import MOST_SECONDS, bulk_transfer
from migsim.units import KIB, MIB

__all__ = [
    "DATA",
    "Comparison",
    "Kind",
    "Row",
    "Share",
    "compare",
    "predict",
    "read_rows",
    "shares",
]

_FOLDER = Path(__file__).resolve().parent.parent / "data"
DATA = {
    "in view while the model was made": _FOLDER / "tcp-linux.csv",
    "measured later; buffers in view": _FOLDER / "tcp-linux-2.csv",
}
SEEDS = 30
"""Transfers with other seeds of which a lossy row's prediction is the mean."""

_LARGE_BUFFER = 64 * MIB
_LATER = 5.0  # seconds after which a connection has come to its own
_NAMESPACES = 200e-6  # of the two namespaces themselves, where the link adds nothing

Kind = Literal["loss-free", "lossy bbr", "lossy cubic", "window-limited", "other buffers"]

TOLERANCES: dict[Kind, float] = {
    "loss-free": 0.10,
    "lossy bbr": 0.20,
    "lossy cubic": 0.40,
    "window-limited": 0.05,
    "other buffers": 0.20,
}
"""Relative errors of the mean throughput; "window-limited" are Linux's default buffers."""
SHARE = 0.8
"""Of the rows of each kind, so many lie within the tolerance: what is claimed."""


@dataclass(frozen=True)
class Row:
    """One measured setting.

    Attributes:
        rate_mbps, rtt_ms, loss, congestion, send_buffer, receive_buffer, queue, seconds: the
            setting.
        runs: transfers measured.
        mean_mbps, low_mbps, high_mbps, later_mbps: payload received: mean, least and greatest
            run, and the mean after the first five seconds.
        t90: seconds until 90 % of the link's goodput were first reached; None if never.
    """

    rate_mbps: float
    rtt_ms: float
    loss: float
    congestion: Literal["cubic", "bbr"]
    send_buffer: int
    receive_buffer: int
    queue: int
    seconds: float
    runs: int
    mean_mbps: float
    low_mbps: float
    high_mbps: float
    later_mbps: float
    t90: float | None

    @property
    def kind(self) -> Kind:
        """What limits the transfer."""
        if self.loss:
            return "lossy bbr" if self.congestion == "bbr" else "lossy cubic"
        if self.send_buffer == self.receive_buffer == _LARGE_BUFFER:
            return "loss-free"
        if self.link.buffer >= self.link.goodput * self.link.rtt + self.link.refill:
            return "loss-free"
        default = (SEND_LIMIT, Link.receive_buffer)
        is_default = (self.send_buffer, self.receive_buffer) == default
        return "window-limited" if is_default else "other buffers"

    @property
    def link(self) -> Link:
        """The same setting as a link of ours."""
        return Link(
            rate=self.rate_mbps * 1e6 / 8,
            rtt=max(self.rtt_ms / 1e3, _NAMESPACES),
            loss=self.loss,
            congestion=self.congestion,
            queue=str(self.queue),
            send_buffer=self.send_buffer,
            receive_buffer=self.receive_buffer,
        )


@dataclass(frozen=True)
class Comparison:
    """A row and what the model says."""

    row: Row
    mean_mbps: float
    later_mbps: float
    t90: float | None

    @property
    def error(self) -> float:
        """Relative error of the mean throughput."""
        return self.mean_mbps / self.row.mean_mbps - 1.0

    @property
    def within(self) -> bool:
        """Whether the mean lies within the tolerance of its kind."""
        return abs(self.error) <= TOLERANCES[self.row.kind]

    @property
    def t90_within(self) -> bool | None:
        """Whether the time to 90 % lies within a round trip or a quarter; None if not comparable.

        Where buffers limit the window 90 % are not reached, save for a single burst.
        """
        limited = self.row.kind in {"window-limited", "other buffers"}
        if self.row.t90 is None or limited:
            return None
        if self.t90 is None:
            return False
        return abs(self.t90 - self.row.t90) <= max(self.row.rtt_ms / 1e3, 0.25 * self.row.t90)


@dataclass(frozen=True)
class Share:
    """How many rows of a kind lie within the tolerance."""

    name: str
    tolerance: str
    within: int
    rows: int

    @property
    def holds(self) -> bool:
        """Whether as many as claimed are within."""
        return self.within >= SHARE * self.rows


def read_rows(path: Path) -> list[Row]:
    """Return the measured rows of a file in the format of ``data/tcp-linux.csv``.

    A column ``rmem`` is optional: Linux's default goes with a default ``wmem``, 64 MiB with others.
    Raises `InputError`.
    """
    rows = []
    try:
        with path.open(newline="") as file:
            for number, cells in enumerate(csv.DictReader(file), 2):
                try:
                    rows.append(_row(cells))
                except KeyError as error:
                    raise InputError(f"{path}: expected a column {error}") from None
                except (TypeError, ValueError) as error:
                    raise InputError(f"{path}, line {number}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot read the measured rows: {error}") from None
    if not rows:
        raise InputError(f"{path}: there is no measured row, expected at least one")
    return rows


def _row(cells: dict[str, str]) -> Row:
    if cells["cc"] not in {"cubic", "bbr"}:
        raise ValueError(f"cc is '{cells['cc']}', expected cubic or bbr")
    send_buffer = int(cells["wmem"])
    receive_buffer = Link.receive_buffer if send_buffer == SEND_LIMIT else _LARGE_BUFFER
    row = Row(
        rate_mbps=float(cells["rate_mbps"]),
        rtt_ms=float(cells["rtt_ms"]),
        loss=float(cells["loss"]),
        congestion="bbr" if cells["cc"] == "bbr" else "cubic",
        send_buffer=send_buffer,
        receive_buffer=int(cells.get("rmem") or receive_buffer),
        queue=int(cells["q_kb"]) * KIB,
        seconds=float(cells["secs"]),
        runs=int(cells["runs"]),
        mean_mbps=float(cells["mean_mbps"]),
        low_mbps=float(cells["min_mbps"]),
        high_mbps=float(cells["max_mbps"]),
        later_mbps=float(cells["mean_after5s_mbps"]),
        t90=float(cells["t90_s"]) if cells["t90_s"] else None,
    )
    if not _LATER < row.seconds <= MOST_SECONDS:
        raise ValueError(f"secs is {row.seconds}, expected more than {_LATER:g} and at most a day")
    if not 0 < row.low_mbps <= row.mean_mbps <= row.high_mbps < math.inf:
        raise ValueError("expected 0 < min_mbps <= mean_mbps <= max_mbps")
    if row.seconds + row.link.rtt > MOST_SECONDS:  # `link` tells a setting that no link can have
        raise ValueError("expected at most a day, handshake included")
    return row


def predict(row: Row, seeds: int = SEEDS) -> Comparison:
    """Return the model's figures for a row: means over ``seeds`` transfers if packets are lost.

    The time to 90 % is the mean of those transfers that reach it.

    iperf's clock starts once the connection stands, a round trip after ours.
    """
    link = row.link
    means, later, reached = [], [], []
    for seed in range(seeds if row.loss else 1):
        transfer = bulk_transfer(link, duration=row.seconds + link.rtt, seed=seed)
        begin, five, end = transfer.received_at(link.rtt + _array(0.0, _LATER, row.seconds))
        means.append((end - begin) / row.seconds)
        later.append((end - five) / (row.seconds - _LATER))
        reached.append(transfer.first_time_at(0.9 * link.goodput, begin=link.rtt) - link.rtt)
    finite = [time for time in reached if math.isfinite(time)]
    mbps = 8e-6
    return Comparison(
        row, fmean(means) * mbps, fmean(later) * mbps, fmean(finite) if finite else None
    )


def _array(*values: float) -> Floats:
    return np.array(values)


def compare(rows: Sequence[Row], seeds: int = SEEDS) -> list[Comparison]:
    """Return the predictions for all rows."""
    return [predict(row, seeds) for row in rows]


def shares(found: Sequence[Comparison]) -> list[Share]:
    """Return for each kind of row how many lie within the tolerance."""
    listed = []
    for kind, tolerance in TOLERANCES.items():
        chosen = [item for item in found if item.row.kind == kind]
        if not chosen:
            continue
        within = sum(item.within for item in chosen)
        listed.append(Share(kind, f"{tolerance:.0%}", within, len(chosen)))
    timed = [item.t90_within for item in found if item.t90_within is not None]
    listed.append(Share("time to 90 %", "a round trip or 25%", sum(timed), len(timed)))
    return listed
