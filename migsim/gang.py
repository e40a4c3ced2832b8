"""What guests that migrate together have sent: one index of contents for all of them.

Deshpande, Wang and Gopalan (HPDC 2011) migrate the guests of one host to one other and send a page
whose content another of them has sent already as a reference. Source and destination keep what was
sent for as long as the gang is under way, so that a reference holds although the first guest has
written its page since.

Guests are simulated in turns. So that their order decides nothing, each works on a view of its own:
what it has sent itself, and what others had sent up to the time at which it was last given its
share of the link. They learn from one another a tick late at most, and never from the future. That
the connection of the first may be lost before its last pages arrive is not modelled.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from migsim._types import Words

__all__ = ["Gang", "GangMember"]


class _Index:
    """The pages of one image that the gang has sent, in order of time."""

    def __init__(self) -> None:
        self._known: Words | None = None
        self._later: list[tuple[float, int, Words]] = []
        self._count = 0

    def add(self, at: float, sent: Words) -> None:
        """Let others know from the time ``at`` on that the pages of a bitmap were sent."""
        heapq.heappush(self._later, (at, self._count, sent))
        self._count += 1

    def known(self, now: float, size: int) -> Words:
        """Return the bitmap, of ``size`` words, of what was sent up to ``now``.

        To be asked in order of time.
        """
        if self._known is None:
            self._known = np.zeros(size, np.uint64)
        while self._later and self._later[0][0] <= now:
            self._known |= heapq.heappop(self._later)[2]
        return self._known


class Gang:
    """Guests that migrate together from one host to one other.

    An image is a content that several of them have; each has an index of its own.
    """

    def __init__(self) -> None:
        self._indexes: defaultdict[Hashable, _Index] = defaultdict(_Index)

    def join(self, now: float) -> GangMember:
        """Return a guest's place in the gang, from ``now`` on."""
        return GangMember(self._indexes, now)


class GangMember:
    """One guest of a gang; times are those of all of them, seconds."""

    def __init__(self, indexes: defaultdict[Hashable, _Index], now: float) -> None:
        self._indexes = indexes
        self._now = now
        self._index = _Index()
        self._view: Words = np.zeros(0, np.uint64)
        self._told: Words = self._view

    def view(self, image: Hashable, pages: int) -> Words:
        """Return the bitmap of the pages of the guest's ``image`` that need not be sent again.

        Whoever sends for the guest sets what it sends.
        """
        if not self._view.size:
            self._index = self._indexes[image]
            self._view = self._index.known(self._now, (pages >> 6) + 1).copy()
            self._told = self._view.copy()
        return self._view

    def tell(self, now: float) -> None:
        """Let the others know what the guest has sent up to ``now``."""
        fresh = self._view & ~self._told
        if fresh.any():
            self._index.add(now, fresh)
            self._told |= fresh

    def learn(self, now: float) -> None:
        """Take note of what the others had sent up to ``now``."""
        self._now = now
        if self._view.size:
            self._view |= self._index.known(now, self._view.size)
            self._told |= self._view
