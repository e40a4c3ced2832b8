"""The guest: what its memory holds, what its dirty log says, and what the destination has of it."""

from __future__ import annotations

import math

import numpy as np

from migsim._kernels.foresight import list_first_touches, mark_writes
from migsim._kernels.guest import GuestSets, fold_writes
from migsim._types import Integers
from migsim.accesses import AccessWindow
from migsim.clock import Clock
from migsim.content import PAGE_BYTES, Content
from migsim.machine import VirtualMachine
from migsim.memory import GuestMemory
from migsim.pages import Pages
from migsim.workload import Workload

__all__ = ["Guest"]


class Guest:
    """The state of a running guest, as sets of its pages.

    Attributes:
        sent: pages that have been sent at least once.
        owed: pages that whoever reads the log knows to differ at the destination.
        uncleared: chunks of the log that are cleared when their first page is sent.
        taken: what the last reading of the log returned; under ``send``, what a chunk's clearing
            clears (KVM_CLEAR_DIRTY_LOG takes the bits to clear). Unused under ``sync``.
        accesses: accesses made so far, by all vCPUs.
        syncs: how often the log was read and cleared; the migration's start counts as one.
        memory: what its pages hold, as far as that is kept track of.
    """

    def __init__(self, vm: VirtualMachine, workload: Workload, content: Content) -> None:
        self.vm = vm
        self.workload = workload
        self.clock = Clock()
        self.window = AccessWindow(workload)
        size = vm.pages
        zeros = vm.zero_bytes // vm.page_size
        first = size - zeros if vm.zero_offset is None else vm.zero_offset // vm.page_size
        zero = Pages.range(first, first + zeros, size=size) | content.zero_pages()
        self._nonzero = self.everything - zero
        self._stale = self._nonzero.copy()
        self._log = Pages.none(size)
        self._recent = Pages.none(size)
        self._written = False  # since the recent writes were folded into the other sets
        self.taken = Pages.none(size)
        self.sent = Pages.none(size)
        self.owed = self.everything
        self.accesses = 0
        self.syncs = 1
        self.chunk_shift = (vm.clear_chunk // vm.page_size).bit_length() - 1
        self.uncleared = np.zeros((size >> self.chunk_shift) + 1, np.int64)
        if vm.dirty_log == "send":
            # The log starts with all bits set and is cleared as the first copy goes
            # (KVM_DIRTY_LOG_INITIALLY_SET).
            self._log, self.taken = self.everything, self.everything
            self.uncleared.fill(1)
        self.memory = GuestMemory(vm, content, self.nonzero)
        if self.memory.tracked:
            self.window.track(content)
        elif content.has_history and vm.page_size == PAGE_BYTES:
            self.track_content()

    @property
    def sets(self) -> GuestSets:
        """The sets as kernels take them. Who lets a kernel change them says so by `touched`."""
        return GuestSets(
            self._log.bits, self._stale.bits, self._nonzero.bits, self.sent.bits,
            self._recent.bits, self.taken.bits,
        )  # fmt: skip

    def touched(self) -> None:
        """Take note that a kernel has run."""
        self._written = True
        for pages in (self._log, self._stale, self._nonzero, self.sent, self._recent):
            pages.touched()

    def _fold(self) -> None:
        if self._written:
            fold_writes(self.sets)
            self.touched()
            self._written = False

    @property
    def log(self) -> Pages:
        """The hypervisor's dirty log."""
        self._fold()
        return self._log

    @log.setter
    def log(self, pages: Pages) -> None:
        self._fold()
        self._log = pages

    @property
    def stale(self) -> Pages:
        """The pages whose content at the destination differs from the guest's.

        Kept beside the log and independent of it: it is what the outcome is checked against.
        """
        self._fold()
        return self._stale

    @property
    def nonzero(self) -> Pages:
        """The pages that are not all zeros.

        The destination's memory starts as zeros, so a zero page is not stale.
        """
        self._fold()
        return self._nonzero

    def track_content(self) -> None:
        """Keep track of what pages hold from now on."""
        if not self.memory.tracked:
            self.memory.track(self.stale & self.sent)
            self.window.track(self.memory.content)

    @property
    def everything(self) -> Pages:
        """All pages of the guest."""
        return Pages.range(0, self.vm.pages, size=self.vm.pages)

    def replay_error(self) -> int:
        """Return by how many accesses the replay differs from what the workload says itself.

        To be asked when the clock has just been settled, at the source. Where first writes or
        mirrored ones cost time, the guest may be in debt for the last of them, and this says
        nothing.
        """
        if self.vm.first_write_seconds or self.clock.mirror_seconds:
            return 0
        return self.accesses - self.workload.index(self.clock.anchor_guest)

    def read_log(self, *, clear: bool) -> Pages:
        """Return the pages in the dirty log, and clear it by the rule of the machine."""
        if not clear:
            return self.log.copy()
        dirty = self.log
        self.syncs += 1
        self.owed |= dirty
        if self.vm.dirty_log == "sync":
            self.log = Pages.none(self.vm.pages)
            return dirty
        self.uncleared.fill(1)
        self.taken = dirty.copy()
        return dirty.copy()

    def future_writes(self, now: float, seconds: float) -> Pages:
        """Return the pages that the guest writes in the next ``seconds`` if nothing slows it."""
        written = Pages.none(self.vm.pages)
        until = self.clock.guest_time(now) + seconds
        ahead = AccessWindow(self.workload)
        ahead.move(self.accesses)
        while not mark_writes(ahead.pages, ahead.times, until, written.words):
            ahead.move(ahead.first + ahead.pages.size)
        return written

    def future_order(self, wanted: Pages, now: float, seconds: float) -> Integers:
        """Return ``wanted`` in the order of first touch, those untouched for ``seconds`` last."""
        left = wanted.copy()
        order = np.empty(len(wanted), np.int64)
        until = self.clock.guest_time(now) + seconds
        ahead = AccessWindow(self.workload)
        ahead.move(self.accesses)
        found = 0
        while found < order.size:
            found = list_first_touches(ahead.pages, ahead.times, until, left.words, order, found)
            if not math.isfinite(ahead.times[-1]) or ahead.times[-1] >= until:
                break
            ahead.move(ahead.first + ahead.pages.size)
        order[found:] = Pages(left.words, left.size).indices()
        return order
