"""Pre-copy of a guest that writes uniformly, in NumPy: what the engine is measured against.

The same rule, vectorised a round at a time: the same draws (SplitMix64), the same link (the curves
of `migsim.network.Flow`), the same estimate of the bandwidth, and the same exact record of what is
stale at the destination. Only what a round needs is computed; nothing is kept for other algorithms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from migsim._types import Floats, Integers
from migsim.machine import VirtualMachine
from migsim.meter import BandwidthMeter
from migsim.network import Flow, Link

__all__ = ["Precopied", "precopy"]


@dataclass(frozen=True)
class Precopied:
    """What a migration came to; ``stale`` counts the pages that are stale at its end."""

    rounds: int
    pages_sent: int
    total_seconds: float
    downtime_seconds: float
    accesses: int
    stale: int


def draws(seed: int, first: int, stop: int, count: int) -> Integers:
    """Return the pages of the accesses ``first`` to ``stop - 1``."""
    z = np.arange(first + 1, stop + 1, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed % 2**64)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    z >>= np.uint64(11)
    return (z * 1.1102230246251565e-16 * count).astype(np.int64)


class _Guest:
    """A guest that writes ``rate`` pages a second, each one of ``count`` with equal chance."""

    def __init__(self, pages: int, count: int, rate: float, seed: int) -> None:
        self.count, self.seed = count, seed
        self.interval = 1.0 / rate
        self.made = 0
        self.log = np.zeros(pages, np.bool_)
        self.stale = np.ones(pages, np.bool_)

    def _before(self, now: float) -> int:
        """Return how many writes happen before ``now``: write j at (j + 0.5) intervals."""
        index = max(0, int(now / self.interval - 0.5) - 1)
        while (index + 0.5) * self.interval < now:
            index += 1
        return index

    def run(self, now: float, leaves: Floats | None = None) -> None:
        """Make the writes before ``now``; ``leaves`` tells when each page's content was read."""
        stop = self._before(now)
        pages = draws(self.seed, self.made, stop, self.count)
        self.log[pages] = True
        if leaves is not None:
            times = (np.arange(self.made, stop) + 0.5) * self.interval
            pages = pages[times >= leaves[pages]]
        self.stale[pages] = True
        self.made = stop


def _departures(flow: Flow, count: int, size: int) -> Floats:
    """Return when each of ``count`` pages of ``size`` bytes has left, and let the flow go on."""
    left, done = np.empty(count), 0
    while done < count:
        flow.extend(flow.stream + size)  # as the engine asks: before a page that does not fit
        curve = flow.curve.segments
        fits = min(count - done, (flow.curve.end - flow.stream) // size)
        stream = flow.stream + size * np.arange(1, fits + 1, dtype=np.int64)
        segment = np.searchsorted(curve["bytes"], stream, side="left") - 1
        # What lies in the last segment needs no looking up, and is often the most of it.
        late = int(np.searchsorted(segment, curve["bytes"].size - 1))
        part, early = left[done : done + fits], segment[:late]
        part[:late] = (
            curve["at"][early] + (stream[:late] - curve["bytes"][early]) * curve["pace"][early]
        )
        part[late:] = curve["at"][-1] + (stream[late:] - curve["bytes"][-1]) * curve["pace"][-1]
        part += flow.shift
        flow.stream, flow.segment = int(stream[-1]), int(segment[-1])
        flow.ready = float(part[-1])
        done += fits
    return left


def precopy(
    vm: VirtualMachine,
    link: Link,
    *,
    working_set: int,
    rate: float,
    seed: int = 0,
    max_downtime: float = 0.3,
    max_rounds: int = 30,
) -> Precopied:
    """Return what the engine's ``precopy`` of a ``uniform`` guest comes to."""
    guest = _Guest(vm.pages, working_set // vm.page_size, rate, seed)
    flow, meter = Flow(link, 0.0), BandwidthMeter()
    size = vm.page_size + link.message_header
    now, sent, rounds = 0.0, 0, 0
    leaves = np.empty(vm.pages)

    def send(dirty: Integers, running: bool) -> float:
        begin = flow.begin(now)
        left = _departures(flow, dirty.size, size)
        meter.add(dirty.size * size, flow.ready - begin)
        guest.stale[dirty] = False
        if running:
            leaves.fill(-np.inf)  # a page that is not sent is stale once it is written
            leaves[dirty[0]] = begin
            leaves[dirty[1:]] = left[:-1]
            guest.run(flow.ready, leaves)
        return flow.ready

    dirty = np.arange(vm.pages)
    while rounds < max_rounds:
        now = send(dirty, running=True)
        sent, rounds = sent + dirty.size, rounds + 1
        now += vm.sync_seconds
        guest.run(now)
        dirty = np.flatnonzero(guest.log)
        guest.log[:] = False
        if dirty.size / (meter.rate / size) <= max_downtime:
            break
    paused = now
    now += vm.sync_seconds
    if dirty.size:
        now = send(dirty, running=False)
        sent += dirty.size
    now = flow.transmit(now, vm.device_bytes) + link.rtt / 2 + vm.resume_seconds
    return Precopied(rounds, sent, now, now - paused, guest.made, int(guest.stale.sum()))
