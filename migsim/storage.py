"""The guest's disk at the source host, while blocks leave: the Python side of the disk kernel.

Memory and disk meet in the guest's clock only. Each kernel is exact to the single access, and the
one that does not send catches up afterwards; what that leaves out is the time that first writes
to tracked pages cost while blocks leave (`VirtualMachine.first_write_seconds`): the I/Os of that
act do not know of it yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from migsim._kernels.disk import DISK_STATE, Blocks, next_mirrored, run_disk
from migsim._kernels.source import DONE, NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._types import Integers, Record
from migsim.accesses import AccessWindow
from migsim.clock import Clock
from migsim.disk import Disk
from migsim.errors import ConnectionLost
from migsim.network import Flow, Plans
from migsim.pages import Pages
from migsim.workload import Workload

__all__ = ["BlockTransfer", "Storage"]

_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class BlockTransfer:
    """Which blocks are to leave while the guest runs, and under which conditions.

    Attributes:
        blocks: sent in ascending order from ``start`` on, cyclically.
        stop_at: no block starts then or later.
        max_bytes: no block starts once so many stream bytes have left.
        rate: bytes of blocks per second at most, without bursts.
    """

    blocks: Pages
    start: int = 0
    stop_at: float = math.inf
    max_bytes: int | None = None
    rate: float = math.inf


class Storage:
    """The blocks of an unshared disk, and its I/Os up to the switch-over.

    Attributes:
        log: blocks written since the log was last read.
        child: blocks written since the last snapshot.
        stale: blocks of which the destination has something else; independent of the log.
        allocated: blocks that hold something.
        unmirrored: blocks whose writes are not mirrored.
        mirrors: whether those to others are.
        sent: int64 (3, 2): number and content bytes of blocks copied or pushed, of mirrored
            writes, and of blocks fetched on demand.
        ios: I/Os made so far.
        left: blocks that the last transfer has not sent, and
        next_block: the one behind the last that it has.
    """

    def __init__(self, disk: Disk, workload: Workload) -> None:
        self.disk = disk
        self.window = AccessWindow(workload)
        size = disk.blocks
        self.allocated = Pages.range(0, disk.allocated_blocks, size=size)
        self.stale = self.allocated.copy()
        self.log, self.child = Pages.none(size), self.allocated.copy()
        self.unmirrored = Pages.none(size)
        self.mirrors = False
        self.chained = False
        self.sent: Integers = np.zeros((3, 2), np.int64)
        self.ios = 0
        self.left = Pages.none(size)
        self.next_block = 0
        self._unit_shift = (disk.block // disk.io_bytes).bit_length() - 1
        self._states: Record = np.recarray(1, dtype=DISK_STATE)
        self._states.view(np.uint8)[:] = 0

    def take_log(self) -> Pages:
        """Return the blocks in the dirty log, and clear it."""
        dirty, self.log = self.log, Pages.none(self.disk.blocks)
        return dirty

    def take_child(self) -> Pages:
        """Return the blocks written since the last snapshot; what is read from now on is as now."""
        frozen, self.child = self.child, Pages.none(self.disk.blocks)
        self.chained = True
        return frozen

    def next_mirrored(self, clock: Clock) -> float:
        """Return a time before which the guest, left to itself, makes no mirrored write."""
        if not self.mirrors or not clock.running:
            return math.inf
        window = self.window
        if self.ios - window.first >= window.pages.size:
            window.move(self.ios)
        place = next_mirrored(
            window.pages, self.ios - window.first, self._unit_shift, self.unmirrored.words
        )
        # Where the window shows none, its end is looked at anew when the guest has come so far.
        when = float(window.times[min(place, window.pages.size - 1)])
        return clock.anchor_real + (when - clock.anchor_guest) * clock.stretch + clock.lag

    def run(self, flow: Flow, clock: Clock, transfer: BlockTransfer | None, hold: float) -> float:
        """Run until the transfer has left and the guest's I/Os have been made up to ``hold``.

        Returns the time reached. Raises `ConnectionLost`; I/Os have then been made up to when that
        is noticed, or to ``hold``.
        """
        sending = transfer or BlockTransfer(Pages.none(self.disk.blocks))
        todo = sending.blocks.copy()
        state = self._prepare(flow, clock, sending, hold)
        lost: ConnectionLost | None = None
        while True:
            status = run_disk(
                self._states, self.window.pages, self.window.times, self._blocks, todo.words,
                flow.curve.segments, self.sent,
            )  # fmt: skip
            if status == NEED_ACCESSES:
                self.window.move(self.window.first + self.window.pages.size)
                state.access = 0
            elif status == NEED_BUSY_PERIOD:
                self._store(flow)
                state.stop_bytes -= flow.stream
                flow.begin(float(state.idle_until))
                self._load(flow)
            elif status == NEED_CURVE:
                self._store(flow)
                flow.plans = Plans()
                try:
                    flow.extend(flow.stream + self.disk.block + flow.link.message_header)
                except ConnectionLost as error:
                    lost = error
                    state.hold, state.stop_at, state.mirrors = max(hold, error.at), -math.inf, 0
                self._load(flow)
            else:
                assert status == DONE
                break
        self._finish(flow, clock)
        todo.touched()
        self.left, self.next_block = todo, int(state.cursor)
        if lost is not None:
            raise lost
        return max(float(state.left), hold)

    def _prepare(self, flow: Flow, clock: Clock, transfer: BlockTransfer, hold: float) -> Record:
        disk, link, state = self.disk, flow.link, self._states[0]
        state.running = clock.running
        state.anchor_real, state.anchor_guest = clock.anchor_real, clock.anchor_guest
        state.stretch, state.lag, state.mirror_lag = clock.stretch, clock.lag, clock.mirror_lag
        state.access = self.ios - self.window.first
        self._load(flow)
        state.round_trip, state.header_bytes = link.rtt, link.message_header
        state.unit_bytes, state.unit_shift = disk.io_bytes, self._unit_shift
        state.block_bytes, state.queue_depth = disk.block, disk.queue_depth
        state.mirrors, state.chained = self.mirrors, self.chained
        state.hold, state.left, state.stop_at = hold, hold, transfer.stop_at
        budget = transfer.max_bytes
        state.stop_bytes = _NO_LIMIT if budget is None else min(_NO_LIMIT, flow.stream + budget)
        state.cursor = transfer.start
        state.block_seconds = max(disk.block_seconds, disk.block / transfer.rate)
        self._blocks = Blocks(
            self.log.words, self.child.words, self.stale.words, self.allocated.words,
            self.unmirrored.words,
        )  # fmt: skip
        return state

    def _finish(self, flow: Flow, clock: Clock) -> None:
        state = self._states[0]
        self.ios = self.window.first + int(state.access)
        clock.lag = float(state.lag)
        clock.mirror_lag = float(state.mirror_lag)
        self._store(flow)
        for bitmap in (self.log, self.child, self.stale, self.allocated, self.unmirrored):
            bitmap.touched()

    def _load(self, flow: Flow) -> None:
        state = self._states[0]
        state.stream, state.segment, state.shift = flow.stream, flow.segment, flow.shift
        state.ready, state.curve_end, state.most_shift = flow.ready, flow.curve.end, flow.most_shift
        state.restarts = not flow.shifts_freely

    def _store(self, flow: Flow) -> None:
        state = self._states[0]
        flow.ready, flow.shift = float(state.ready), float(state.shift)
        flow.stream, flow.segment = int(state.stream), int(state.segment)
