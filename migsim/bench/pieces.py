"""What else takes time: long transfers over TCP, post-copy, and XBZRLE of a large guest."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from migsim.bench.cases import postcopy, xbzrle
from migsim.bench.measure import best
from migsim.bench.rows import Row, Target
from migsim.network import Flow, Link
from migsim.units import GIB

__all__ = ["pieces", "transfers"]

_LINKS = {
    "64 GiB over 10 Gbit/s, 100 ms, loss 1e-5": Link(rate=1.25e9, rtt=0.1, loss=1e-5),
    "64 GiB over 10 Gbit/s, 100 us, CUBIC": Link(rate=1.25e9, rtt=1e-4),
    "64 GiB over 10 Gbit/s, 100 us, BBR": Link(rate=1.25e9, rtt=1e-4, congestion="bbr"),
}


def pieces(quick: bool) -> Iterator[Row]:
    """Measure each alone, in real time."""
    runs = 3 if quick else 5
    yield from transfers(64 * GIB, runs=runs)
    (took,) = best(postcopy, runs=runs)
    yield _row("post-copy of 16 GiB, 100 k writes/s in 4 GiB, 10 Gbit/s", took)
    if not quick:
        (took,) = best(xbzrle, runs=3)
        yield _row("XBZRLE of 64 GiB, 100 k writes/s in it, 10 Gbit/s", took, 5.0)


def transfers(size: int, *, runs: int) -> Iterator[Row]:
    """Measure bulk transfers of ``size`` bytes."""
    for name, link in _LINKS.items():
        (took,) = best(functools.partial(_transfer, link, size), runs=runs)
        yield _row(name, took, 0.05)


def _transfer(link: Link, size: int) -> float:
    return Flow(link, 0.0).transmit(0.0, size)


def _row(case: str, took: float, most: float | None = None) -> Row:
    return Row(
        section="pieces", case=case, quantity="real time", value=took, unit="s",
        target=None if most is None else Target(most=most),
    )  # fmt: skip
