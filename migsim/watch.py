"""Looking at a migration at chosen instants, without any influence on it.

The kernels are halted at the instants and go on as if they had not been; since it makes no
difference how time is cut, what was looked at is what an unobserved migration does, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from migsim._types import Integers
from migsim.pages import Pages
from migsim.timeline import Place

__all__ = ["Sample", "Watch"]


@dataclass(frozen=True)
class Sample:
    """What a migration had come to at one instant.

    Attributes:
        seconds: since the start of the migration.
        place: where the guest was.
        logged: pages in the hypervisor's dirty log: written since it was last read.
        behind: pages whose content at the destination differs from the guest's, or is missing.
        first, resent, demanded: pages sent so far, by why they were sent.
        zeros: those of them that were sent as zero pages.
        carried: stream bytes that have left so far.
        guest_seconds: guest time that has passed, averaged over the vCPUs.
    """

    seconds: float
    place: Place
    logged: int
    behind: int
    first: int
    resent: int
    demanded: int
    zeros: int
    carried: int
    guest_seconds: float


class Watch:
    """Instants at which a migration is looked at, and what was seen.

    A page that leaves at an instant is waited for, so that a sample may be taken a page later.

    Attributes:
        samples: what was seen, in order of time; acts of the algorithm add samples of their own.
        next: the next instant; infinite behind the last one.
    """

    def __init__(self, instants: Iterable[float]) -> None:
        self._instants = np.unique(np.fromiter(instants, np.float64))
        self._place = 0
        self.samples: list[Sample] = []
        self.next = math.inf
        self._move(-math.inf)

    def _move(self, now: float) -> None:
        self._place = int(np.searchsorted(self._instants, now, side="right"))
        behind = self._place >= self._instants.size
        self.next = math.inf if behind else float(self._instants[self._place])

    def look(
        self,
        now: float,
        place: Place,
        logged: Pages | None,
        behind: Pages,
        sent_by_kind: Integers,
        zeros: int,
        carried: int,
        guest_seconds: float,
    ) -> None:
        """Take a sample at ``now``: sets are counted, the other arguments as in `Sample`."""
        first, resent, demanded = (int(count) for count in sent_by_kind[:, 0])
        self.samples.append(
            Sample(
                now, place, 0 if logged is None else len(logged), len(behind), first, resent,
                demanded, zeros, carried, guest_seconds,
            )
        )  # fmt: skip
        self._move(now)
