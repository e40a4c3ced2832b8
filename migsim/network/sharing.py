"""How flows share links: max-min fairness, and what round trips do to TCP's shares.

A single migration does not need it; `migsim.fleet` divides links among many by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from migsim._kernels.draws import portable_exp, portable_log
from migsim.gang import GangMember
from migsim.network.link import Congestion

__all__ = ["Grant", "Plans", "Share", "max_min_shares", "round_trip_weight"]

# Throughput goes with the round trip to this power at equal loss: Reno's window does not depend on
# it (Mathis et al., CCR 1997), CUBIC's goes with its power 3/4 (RFC 9438, sec. 5.1). BBR's bias
# towards long round trips (Hock et al., ICNP 2017) depends on the queue and is not modelled.
_POWERS: dict[Congestion, float] = {"reno": -1.0, "cubic": -0.25, "bbr": 0.0, "none": 0.0}


@dataclass(frozen=True)
class Plans:
    """What a flow surely does next: up to then, its share need not be thought over.

    Attributes:
        bytes: that it sends without a rest, at least.
        rests_at: when it may rest nevertheless, seconds of the migration's time.
        threads: of its host's processor that encode them.
    """

    bytes: int = 0
    rests_at: float = math.inf
    threads: int = 0


@dataclass(frozen=True)
class Grant:
    """What a flow has for a while.

    Attributes:
        part: of its path's rate, above 0 and at most 1.
        cpu: of the time of the threads that encode what it sends.
        until: seconds of the migration's time up to which that holds.
    """

    part: float
    cpu: float
    until: float


class Share(Protocol):
    """A flow's place among others on its path."""

    @property
    def gang(self) -> GangMember | None:
        """The guest's place among those with which it shares an index of contents, if any."""
        ...

    def grant(self, now: float, busy_since: float, plans: Plans) -> Grant:
        """Return what the flow has from ``now`` on; others may be simulated up to then first.

        It has been sending without a rest since ``busy_since``.
        """
        ...


def round_trip_weight(congestion: Congestion, rtt: float) -> float:
    """Return the weight of a flow on a shared bottleneck, 1 at a round trip of 1 s.

    >>> round_trip_weight("reno", 0.01) / round_trip_weight("reno", 0.1)
    10.0
    """
    power = _POWERS[congestion]
    if power == 0.0 or rtt <= 0.0:
        return 1.0
    if power == -1.0:
        return 1.0 / rtt
    return portable_exp(power * portable_log(rtt))


def max_min_shares(
    capacities: Mapping[str, float],
    flows: Sequence[Sequence[str]],
    *,
    weights: Sequence[float] | None = None,
    demands: Sequence[float] | None = None,
) -> list[float]:
    """Return the rate of each flow, given the links that it crosses, by progressive filling.

    All rates grow in proportion to their ``weights`` until a link is full or a demand is met; the
    flows concerned stop there, the others go on (Bertsekas and Gallager, Data Networks, 6.5.2).
    Raises ValueError for a flow without links or demand, and for weights that are not positive.

    >>> max_min_shares({"a": 10.0, "b": 4.0}, [["a"], ["a", "b"], ["b"]])
    [8.0, 2.0, 2.0]
    """
    weight = [1.0] * len(flows) if weights is None else list(weights)
    wanted = [float("inf")] * len(flows) if demands is None else list(demands)
    if min(weight, default=1.0) <= 0:
        raise ValueError(f"weights {weight}: expected more than 0")
    rates = [0.0] * len(flows)
    left = dict(capacities)
    active = set(range(len(flows)))
    for k in active:
        if not flows[k] and wanted[k] == float("inf"):
            raise ValueError(f"flow {k} crosses no link and has no demand")
    crossed = [[link for link in dict.fromkeys(flow) if link in left] for flow in flows]
    while active:
        load = dict.fromkeys(left, 0.0)
        for k in active:
            for link in crossed[k]:
                load[link] += weight[k]
        by_link = {link: left[link] / load[link] for link in left if load[link] > 0}
        by_demand = {k: (wanted[k] - rates[k]) / weight[k] for k in active}
        step = max(0.0, min([*by_link.values(), *by_demand.values()]))
        for k in active:
            rates[k] += step * weight[k]
        full = {link for link, room in by_link.items() if room <= step}
        for link in by_link:
            left[link] = 0.0 if link in full else left[link] - step * load[link]
        active = {k for k in active if by_demand[k] > step and full.isdisjoint(crossed[k])}
    return rates
