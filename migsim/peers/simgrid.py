"""SimGrid's recursion of pre-copy over its network model LV08."""

from __future__ import annotations

import math
from dataclasses import dataclass

from migsim.peers.case import Case, Forecast

__all__ = ["Lv08", "simgrid"]

_LATENCY_FACTOR = 13.01
_BANDWIDTH_FACTOR = 0.97
_WINDOW = 4194304.0  # network/TCP-gamma
_MAX_DOWNTIME = 0.03  # there is a getter and no setter
_TIME_LIMIT = 1e7  # seconds, after which it aborts


@dataclass(frozen=True, kw_only=True)
class Lv08:
    """The network model LV08 of one flow over one link.

    Attributes:
        bandwidth: of the link, bytes per second.
        latency: one way, seconds.
        speed: that the migration is allowed (sg_vm_set_migration_speed), bytes per second.
        shared: whether acknowledgements go through the same link (SHARED), or the other way of it
            (SPLITDUPLEX). They take 5 % of what they acknowledge.
    """

    bandwidth: float
    latency: float = 0.0
    speed: float = math.inf
    shared: bool = False

    @property
    def rate(self) -> float:
        """Bytes per second of a long flow.

        >>> Lv08(bandwidth=125e6).rate, round(Lv08(bandwidth=125e6, shared=True).rate)
        (121250000.0, 115476190)
        """
        window = _WINDOW / (2.0 * self.latency) if self.latency else math.inf
        link = self.bandwidth / (1.05 if self.shared else 1.0)
        return min(_BANDWIDTH_FACTOR * min(link, window), self.speed)

    def seconds(self, size: float) -> float:
        """Return how long a message takes."""
        return _LATENCY_FACTOR * self.latency + size / self.rate


def simgrid(case: Case, *, max_downtime: float = _MAX_DOWNTIME, shared: bool = False) -> Forecast:
    """SimGrid, simgrid/simgrid 3.32, src/plugins/vm/VmLiveMigration.cpp.

    One message of all memory, then of what was dirtied during the last message: a constant rate up
    to the working set. The guest is suspended as soon as the rest fits ``max_downtime`` at the
    last message's mean rate; a last message of no bytes says that it runs. SimGrid knows no other
    limit than 30 ms, whatever the hypervisor's. Whether it converges in 10^7 s is all it asks.
    """
    network = Lv08(bandwidth=case.link, latency=case.rtt / 2.0, speed=case.limit, shared=shared)
    size, seconds, sent, rounds = case.memory, 0.0, 0, 0
    while True:
        took = network.seconds(size)
        seconds, sent, rounds = seconds + took, sent + size, rounds + 1
        dirty = int(min(case.dirty_rate * took, case.working_set))
        if dirty <= int(size / took * max_downtime):
            break
        # Rounds only ever shrink or grow; those that do not shrink never fit.
        if dirty >= size or seconds > _TIME_LIMIT:
            return Forecast(converged=False)
        size = dirty
    downtime = network.seconds(dirty)
    return Forecast(
        seconds=seconds + downtime + network.seconds(0.0),
        downtime=downtime,
        sent=sent + dirty,
        rounds=rounds,
        converged=True,
    )
