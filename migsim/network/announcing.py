"""When the network finds a guest that has moved: announcements, learning switches, ports, paths.

A guest's frames reach everybody at once: what leaves it follows tables that have not changed. What
is sent *to* it goes to the old host until four things have happened at the new one, in this order:

1. The port forwards (``port_delay``): a controller may have to move it; what the guest or its
   hypervisor sends earlier is dropped.
2. A frame with the guest's address passes all switches whose tables are wrong, each of which may
   lose it: an announcement of the hypervisor (`announced`), a frame that the guest sends by itself,
   or its answer to a neighbour that asks by broadcast where it is. Switches learn the port from
   whatever frame they see (IEEE 802.1Q, 8.7), side by side, each within ``learning``. If there is
   none, the tables age, and frames for the guest are flooded to all ports, its own too.
3. Between sites, the new one tells the others that the address has moved (EVPN: a route with a
   higher sequence number, RFC 7432, sec. 15; or a host route), which takes ``path_delay``. An old
   site that ``forwards`` spares clients this wait, at the price of the way through both sites.
4. The client sends again: `migsim.network.client`.

A `Reach` without delays is a single segment. Defaults that are assumptions are called so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from migsim._kernels.draws import random_bits, random_unit
from migsim.errors import InputError
from migsim.units import Count, Fraction, Seconds

__all__ = ["REACHES", "Reach", "announced"]

_MOST = 100
"""Announcements, and switches in a row: the draws of the one are numbered within the other."""

_SEED_PART = 7_343_401
"""Sets the draws of lost announcements apart from all others of a seed."""


def announced(lost: int = 0, sent: int = 5) -> float:
    """Return seconds from the resume to the first announcement that arrives, if ``lost`` do not.

    QEMU sends five, at once and then after 50, 150, 250 and 350 ms, and after 550 ms at most
    (migration parameters announce-initial, -step, -max and -rounds). VMware's knowledge base
    (343401) tells of about five, and of no times. Infinite where all are lost.

    >>> [round(announced(lost), 3) for lost in range(6)]
    [0.0, 0.05, 0.2, 0.45, 0.8, inf]
    """
    if lost >= sent:
        return math.inf
    return math.fsum(min(0.05 + 0.1 * step, 0.55) for step in range(lost))


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How the network between a client and a guest finds the guest again.

    Attributes:
        switches: switches in a row whose tables point to the old host; an announcement teaches
            those that it gets to.
        announcements: gratuitous ARP or RARP frames that the hypervisor sends for the guest.
        announcement_loss: chance of each to be lost on the way to each switch.
        speaks_every: seconds between frames that the guest sends unasked; infinite for a guest that
            only answers.
        asked_after: seconds after the guest's last frame when a neighbour (the client or its
            router) asks for it by broadcast. 38 s are Linux's defaults: 30 s until the address is
            stale (from 15 to 45 s, drawn), 5 s of delay and three probes to the old port, a second
            apart (arp(7); ip-sysctl, ucast_solicit); that packets to the guest keep being sent
            meanwhile is taken for granted.
        ageing: seconds after the guest's last frame when switches forget its port and flood
            (IEEE 802.1Q recommends 300 s).
        learning: seconds from a frame to the switch's changed table; 0 for hardware that learns as
            it forwards.
        port_delay: seconds after the resume until the guest's port at the destination forwards.
        path_delay: seconds until other sites send to the new one.
        sites_rtt: round trip between the old site and the new one.
        forwards: whether the old site, told over half of that, forwards to the new one until then.
        rtt_after: the client's round trip to the guest at the new site; by default the client is
            at the old one and its round trip grows by ``sites_rtt``.
    """

    switches: Count = 1
    announcements: Count = 5
    announcement_loss: Fraction = 0.0
    speaks_every: Seconds = math.inf
    asked_after: Seconds = 38.0
    ageing: Seconds = 300.0
    learning: Seconds = 0.0
    port_delay: Seconds = 0.0
    path_delay: Seconds = 0.0
    sites_rtt: Seconds = 0.0
    forwards: bool = False
    rtt_after: Seconds | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.switches <= _MOST:
            raise InputError(f"reach: switches is {self.switches}, expected 1 to {_MOST}")
        if not 0 <= self.announcements <= _MOST:
            raise InputError(f"reach: announcements is {self.announcements}, expected 0 to {_MOST}")
        if not 0 <= self.announcement_loss <= 1:
            raise InputError(
                f"reach: announcement_loss is {self.announcement_loss}, expected 0 to 1"
            )
        if not self.speaks_every > 0:
            raise InputError(f"reach: speaks_every is {self.speaks_every}, expected more than 0 s")
        if not self.asked_after >= 0:
            raise InputError(f"reach: asked_after is {self.asked_after}, expected 0 s or more")
        finite = ("ageing", "learning", "port_delay", "path_delay", "sites_rtt", "rtt_after")
        for name in finite:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"reach: {name} is {value}, expected 0 s or more")

    def found(self, downtime: float, seed: int, own: Iterable[float] = ()) -> float:
        """Return seconds from the resume until the switches around the new host send to the guest.

        ``own`` are when the guest sends by itself, in seconds after the resume, in order, beside
        what it sends every ``speaks_every`` seconds.
        """
        heard = min(
            self._announcement(seed),
            next((at for at in own if at >= self.port_delay), math.inf),
            self._spoken(),
            max(self.port_delay, self.asked_after - downtime),
        )
        return min(heard + self.learning, max(self.port_delay, self.ageing - downtime))

    def _announcement(self, seed: int) -> float:
        """Return when the first announcement passes the port and all switches."""
        stream = np.uint64(random_bits(np.uint64(seed % 2**64), _SEED_PART))
        for number in range(self.announcements):
            sent = announced(number, self.announcements)
            if sent >= self.port_delay and not any(
                random_unit(stream, _MOST * switch + number) < self.announcement_loss
                for switch in range(self.switches)
            ):
                return sent
        return math.inf

    def _spoken(self) -> float:
        """Return when the guest first speaks by itself through an open port, at the latest."""
        if math.isinf(self.speaks_every):
            return math.inf
        return self.speaks_every * max(1, math.ceil(self.port_delay / self.speaks_every))

    def unheard(self, found: float) -> float:
        """Return seconds from the resume until a client's frames reach the guest."""
        return found + min(self.path_delay, self.sites_rtt / 2.0 if self.forwards else math.inf)

    def farther(self, since_found: float, rtt: float) -> float:
        """Return what a client's round trip of ``rtt`` has grown by, seconds after `found`."""
        detour = self.forwards and since_found < self.path_delay
        if detour or self.rtt_after is None:
            return self.sites_rtt
        return self.rtt_after - rtt


REACHES: dict[str, tuple[str, dict[str, Any]]] = {
    "segment": ("Clients on the segment of both hosts.", {}),
    "distributed": (
        "Clients across distributed switches.", {"switches": 3, "port_delay": 0.1}
    ),
    "sites": (
        "Clients at the old site of a guest that moves to another.",
        {"switches": 3, "path_delay": 0.5, "sites_rtt": 0.01},
    ),
}  # fmt: skip
"""What is usual: name -> (description, the attributes that differ from `Reach`'s defaults).

``distributed``: three switches in a row (an assumption) under one virtual switch whose controller
moves the port. VMware's carries the port's state along with the guest. OVN takes a few seconds on a
loaded host (os-vif's release notes, 2.6.0), and with a port prepared at both hosts a migration
stays under half a second in all (ovn-kubernetes, pull request 4774); 0.1 s is an assumption, and
long enough to lose the first two of QEMU's announcements.

``sites``: path changes by a control plane take hundreds of milliseconds, with some vendors seconds
(blog.ipspace.net, April 2023, on EVPN); 0.5 s is an assumption, and so is that nobody forwards.
10 ms is the longest round trip that VMware allowed for metro vMotion (vSphere 5).
"""
