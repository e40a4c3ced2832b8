"""What an algorithm can see of its migration: the half of the handle that changes nothing."""

from __future__ import annotations

import math

import numpy as np

from migsim._kernels.disk import MIRRORED
from migsim._types import Integers
from migsim.byte_coding import Codings
from migsim.content import Content, ContentRule
from migsim.destination import Destination
from migsim.disk import Disk
from migsim.errors import ConnectionLost
from migsim.guest import Guest
from migsim.ledger import Switch
from migsim.limits import Calls, Limits
from migsim.machine import VirtualMachine
from migsim.meter import BandwidthMeter
from migsim.network import Flow, Link, Share
from migsim.pages import Pages
from migsim.source import Source
from migsim.storage import Storage
from migsim.storage_destination import StorageDestination
from migsim.timeline import Place, Timeline
from migsim.watch import Watch
from migsim.workload import Workload

__all__ = ["Looks"]


class Looks:
    """A migration as its algorithm sees it; `migsim.Migration` adds the verbs."""

    def __init__(
        self,
        vm: VirtualMachine,
        workload: Workload,
        link: Link,
        limits: Limits | None = None,
        seed: int = 0,
        content: ContentRule | None = None,
        watch: Watch | None = None,
        share: Share | None = None,
        disk: Disk | None = None,
        disk_workload: Workload | None = None,
    ) -> None:
        self.vm = vm
        self.link = link
        self._timeline = Timeline()
        self._limits = limits or Limits()
        rule = content or ContentRule()
        self._guest = Guest(vm, workload, Content(rule, workload, vm.pages, seed))
        self._codings = Codings(self._guest, share.gang if share else None)
        self._seed = seed
        self._flow = Flow(link, 0.0, seed, share)
        self._sent_by_kind: Integers = np.zeros((3, 2), np.int64)
        self._disk = disk
        self._storage: Storage | None = None
        if disk is not None and not disk.shared and disk_workload is not None:
            self._storage = Storage(disk, disk_workload)
        self._source = Source(self._guest, self._sent_by_kind, watch, self._storage)
        self._destination: Destination | None = None
        self._storage_destination: StorageDestination | None = None
        self._meter = BandwidthMeter()
        self._now = 0.0
        self._calls = Calls(self._limits)
        self._round = 0
        self._round_open = False
        self._last_sync = 0.0
        self._dirty_rate = 0.0
        self._throttle = 0.0
        self._switch = Switch(self.vm.pages)

    @property
    def timeline(self) -> Timeline:
        """What was done so far, as a copy."""
        return Timeline(list(self._timeline))

    # ---- looks ----------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds of virtual time since the migration was started."""
        self._calls.look()
        return self._now

    @property
    def guest_is(self) -> Place:
        """Where the guest is: running at the ``source``, ``paused``, or at the ``destination``."""
        if self._destination is not None:
            return "destination"
        return "source" if self._guest.clock.running else "paused"

    @property
    def everything(self) -> Pages:
        """All pages of the guest."""
        return self._guest.everything

    @property
    def nothing(self) -> Pages:
        """The empty set of pages."""
        return Pages.none(self.vm.pages)

    @property
    def missing(self) -> Pages:
        """The pages that the guest at the destination still lacks."""
        self._calls.look()
        return self._lacking()

    @property
    def free(self) -> Pages:
        """The pages that hold only zeros now: what a balloon in the guest could take from it."""
        self._calls.look()
        return self._guest.everything - self._guest.nonzero

    @property
    def bandwidth(self) -> float:
        """Measured stream bytes per second of the last 100 ms or more of sending; 0 before."""
        self._calls.look()
        return self._meter.rate

    @property
    def dirty_rate(self) -> float:
        """Pages per second that were found dirty at the last `take_dirty`."""
        self._calls.look()
        return self._dirty_rate

    @property
    def sending_rate(self) -> float:
        """Pages per second that the measured bandwidth carries."""
        return self.bandwidth / (self.vm.page_size + self.link.message_header)

    def seconds_to_send(self, pages: Pages) -> float:
        """Return how long ``pages`` take at the measured bandwidth, as a hypervisor estimates it.

        It takes them to go as they are; times `Sent.share`, they go as those before did. Infinite
        before anything was sent.
        """
        if not pages:
            return 0.0
        rate = self.sending_rate
        return len(pages) / rate if rate else math.inf

    def _lacking(self) -> Pages:
        return self.nothing if self._destination is None else self._destination.missing.copy()

    def _lacking_blocks(self) -> Pages:
        if self._storage_destination is not None:
            return self._storage_destination.missing.copy()
        return Pages.none(0 if self._storage is None else self._storage.disk.blocks)

    def _disk_faults(self) -> int:
        return 0 if self._storage_destination is None else self._storage_destination.faults

    def _copied_bytes(self) -> int:
        """Return the stream bytes so far without those of mirrored writes."""
        if self._storage is None:
            return self._flow.carried
        writes, content = (int(count) for count in self._storage.sent[MIRRORED])
        return self._flow.carried - content - writes * self.link.message_header

    # ---- foresight: for bounds, no hypervisor has it -----------------------------------------

    def future_writes(self, seconds: float) -> Pages:
        """Return the pages that the guest will write in the next ``seconds``, left to itself."""
        self._calls.act()
        return self._guest.future_writes(self._now, min(seconds, self._limits.seconds))

    def future_order(self, pages: Pages, seconds: float) -> Integers:
        """Return ``pages`` as int64 numbers in the order in which the guest will touch them.

        Those that it does not touch within ``seconds`` of guest time come last, ascending.
        """
        self._calls.act()
        return self._guest.future_order(pages, self._now, min(seconds, self._limits.seconds))

    def exact_seconds_to_send(self, pages: Pages) -> float:
        """Return how long ``pages`` would take if sent now and not written meanwhile."""
        self._calls.act()
        nonzero = len(pages & self._guest.nonzero)
        header = self.link.message_header
        size = nonzero * (self.vm.page_size + header) + (len(pages) - nonzero) * (1 + header)
        try:
            return self._flow.copy().transmit(self._now, size) - self._now
        except ConnectionLost:
            return math.inf
