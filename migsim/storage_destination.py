"""The guest's disk at the destination with blocks missing: the Python side of its kernel."""

from __future__ import annotations

import math

import numpy as np

from migsim._kernels.disk_destination import (
    DISK_DESTINATION_STATE,
    NEED_FLIGHT_ROOM,
    run_disk_destination,
)
from migsim._kernels.source import DONE, NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._types import Record
from migsim.clock import Clock
from migsim.destination import REQUEST_BYTES
from migsim.errors import ConnectionLost
from migsim.network import Flow, Plans
from migsim.pages import Pages
from migsim.storage import Storage

__all__ = ["StorageDestination"]


class StorageDestination:
    """Runs the I/Os of a guest that was switched over without all blocks of its disk.

    Attributes:
        missing: blocks that have not arrived.
    """

    def __init__(
        self, storage: Storage, flow: Flow, clock: Clock, missing: Pages, resumes_at: float
    ) -> None:
        self._storage, self._flow = storage, flow
        self.missing = missing
        self._todo = missing.copy()
        self._asked = Pages.none(missing.size)
        self._flight_block = np.empty(1 << 8, np.int64)
        self._flight_at = np.empty(1 << 8, np.float64)
        disk, link = storage.disk, flow.link
        self._states: Record = np.recarray(1, dtype=DISK_DESTINATION_STATE)
        self._states.view(np.uint8)[:] = 0
        state = self._states[0]
        state.anchor_real, state.anchor_guest = resumes_at, clock.anchor_guest
        state.half_trip = link.one_way
        request = REQUEST_BYTES + link.packet_overhead
        state.request_delay = link.one_way + request / link.rate
        state.header_bytes = link.message_header
        state.unit_shift = (disk.block // disk.io_bytes).bit_length() - 1
        state.block_bytes, state.queue_depth = disk.block, disk.queue_depth
        state.block_seconds = disk.block_seconds
        state.device_free = -math.inf
        state.unsent = len(missing)

    @property
    def faults(self) -> int:
        """I/Os that had to wait for a block."""
        return int(self._states[0].faults)

    @property
    def requests(self) -> int:
        """Requests that the destination has sent."""
        return int(self._states[0].requests)

    @property
    def stalled_seconds(self) -> float:
        """What the guest has lost, or is about to lose, by waiting for blocks."""
        return float(self._states[0].lag)

    def run(self, hold: float, until: float, *, background: bool) -> float:
        """Run until all blocks have arrived and the guest has run to ``hold``, or to ``until``.

        Returns the time reached. Blocks that are in flight at ``until`` arrive in the next call.
        Where the connection is lost, a new one is made once the link is back; if it never is, the
        guest runs on until the loss is noticed, and `ConnectionLost` is raised.
        """
        state, lost = self._states[0], None
        state.hold, state.until, state.background = hold, until, background
        self._load()
        while True:
            status = self._call()
            if status == NEED_ACCESSES:
                window = self._storage.window
                window.move(window.first + window.pages.size)
            elif status == NEED_FLIGHT_ROOM:
                self._widen_flight()
            elif status == NEED_BUSY_PERIOD:
                self._flow.begin(float(state.idle_until))
            elif status == NEED_CURVE:
                try:
                    self._lengthen_curve()
                except ConnectionLost as error:
                    lost = error
                    state.down, state.until = 1, error.at
            else:
                assert status == DONE
                break
            self._load()
        self.missing.touched()
        self._todo.touched()
        if lost is not None:
            raise lost
        return float(state.now)

    def _call(self) -> int:
        storage, state = self._storage, self._states[0]
        window = storage.window
        state.access = storage.ios - window.first
        status = run_disk_destination(
            self._states, window.pages, window.times, self._todo.words, self.missing.words,
            self._asked.words, self._flight_block, self._flight_at, self._flow.curve.segments,
            storage.sent,
        )  # fmt: skip
        storage.ios = window.first + int(state.access)
        flow = self._flow
        flow.ready, flow.shift = float(state.ready), float(state.shift)
        flow.stream, flow.segment = int(state.stream), int(state.segment)
        return status

    def _load(self) -> None:
        state, flow = self._states[0], self._flow
        state.stream, state.segment, state.shift = flow.stream, flow.segment, flow.shift
        state.ready, state.curve_end = flow.ready, flow.curve.end
        state.restarts = not flow.shifts_freely

    def _lengthen_curve(self) -> None:
        flow = self._flow
        flow.plans = Plans()
        try:
            flow.extend(flow.stream + self._storage.disk.block + flow.link.message_header)
        except ConnectionLost:
            if not flow.reconnect():
                raise

    def _widen_flight(self) -> None:
        state, size = self._states[0], self._flight_at.size
        turned = (int(state.flight_head) + np.arange(size)) % size
        self._flight_block = np.concatenate([self._flight_block[turned], np.empty(size, np.int64)])
        self._flight_at = np.concatenate([self._flight_at[turned], np.empty(size, np.float64)])
        state.flight_head = 0
