"""The guest at the destination with pages missing: the Python side of the post-copy kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from migsim._kernels.destination import (
    DESTINATION_STATE,
    NEED_FLIGHT_ROOM,
    NEED_LATENCY_ROOM,
    VCPU,
    run_destination,
)
from migsim._kernels.source import NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._kernels.streams import STREAM
from migsim._types import Floats, Integers, Record
from migsim.accesses import AccessWindow
from migsim.errors import ConnectionLost
from migsim.guest import Guest
from migsim.network import Flow, Plans
from migsim.pages import Pages
from migsim.watch import Watch

__all__ = ["REQUEST_BYTES", "Destination", "Prepaging", "Push"]

REQUEST_BYTES = 16
"""A page request: QEMU's message of a 4-byte header and 12 bytes of range."""

Prepaging = Literal["none", "forward", "bubble", "multi"]
"""What the background push does after a fault (Hines and Gopalan, VEE 2009, sec. 3.2).

``none`` goes on linearly; ``forward`` goes on from the faulted page, as QEMU does; ``bubble``
grows around it in both directions; ``multi`` grows around the last seven faults in turn.
"""

_MOST_BYTES = 1 << 62
_NO_LIMIT = 1 << 62
_PIVOTS: dict[Prepaging, int] = {"none": 0, "forward": 1, "bubble": 1, "multi": 7}


@dataclass(frozen=True)
class Push:
    """How missing pages reach the destination beside those that the guest demands.

    Attributes:
        background: push pages that nobody has asked for.
        demand: the destination requests the pages that its guest waits for.
        prepaging: where the push goes on after a fault; None leaves it as it was, so that a wait
            between two pushes does not make the second one forget where it was.
        order: page numbers to push first, int64, before any pivot.
        preempt: demanded pages have a connection of their own.
        window_bytes: bytes after which the push sleeps to the end of a window of time; None for
            no such limit.
        window: seconds of a window.
        demand_limited: demanded pages wait for the window's end, too, unless they have a
            connection of their own.
    """

    background: bool = True
    demand: bool = True
    prepaging: Prepaging | None = None
    order: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    preempt: bool = True
    window_bytes: int | None = None
    window: float = 0.1
    demand_limited: bool = False


class Destination:
    """Runs the guest at the destination from the moment at which it is switched over.

    Attributes:
        latencies: seconds of each fault, from the access to the vCPU's wake-up.
    """

    def __init__(
        self,
        guest: Guest,
        flow: Flow,
        missing: Pages,
        resumes_at: float,
        sent_by_kind: Integers,
        watch: Watch | None = None,
        zeros_before: int = 0,
    ) -> None:
        self._guest = guest
        self._watch, self._zeros_before = watch, zeros_before
        self._flow = flow
        self._resumes_at = resumes_at
        self._sent_by_kind = sent_by_kind
        self.missing = missing
        self._todo = missing.copy()
        self.latencies: list[Floats] = []
        self._latency = np.empty(1 << 14, np.float64)
        self._flight_page = np.empty(1 << 10, np.int64)
        self._flight_at = np.empty(1 << 10, np.float64)
        self._left = np.empty(0, np.int64)
        self._right = np.empty(0, np.int64)
        self._streams: Record = np.zeros(2 * max(_PIVOTS.values()), STREAM)
        self._prepaging: Prepaging | None = None
        self._states: Record = np.zeros(1, DESTINATION_STATE)
        self._state = self._states[0]
        self._vcpus: Record = np.zeros(guest.vm.vcpus, VCPU)
        self._first_access = guest.accesses
        self._delayed = 0.0
        guest.memory.switch_over()
        self._start()

    def _start(self) -> None:
        guest, vm, link = self._guest, self._guest.vm, self._flow.link
        state = self._state
        state["anchor_real"] = self._resumes_at
        state["anchor_guest"] = guest.clock.anchor_guest
        state["busy_since"] = self._flow.ready
        state["round_trip"] = link.rtt
        one_way = link.one_way
        state["half_trip"] = one_way
        state["request_delay"] = one_way + (REQUEST_BYTES + link.packet_overhead) / link.rate
        state["fault_seconds"] = vm.fault_seconds
        state["catch_up"] = vm.catch_up
        state["page_seconds"], state["zero_page_seconds"] = vm.page_seconds, vm.zero_page_seconds
        state["sender_free"] = state["window_began"] = state["soonest"] = -np.inf
        state["page_bytes"] = vm.page_size
        state["header_bytes"] = link.message_header
        state["unsent"] = len(self._todo)
        vcpus = self._vcpus
        vcpus["waits_for"], vcpus["request"], vcpus["free"] = -1, np.inf, -np.inf
        vcpus["time"] = self._resumes_at
        # vCPU v makes the accesses j with j % vcpus == v, from the next one on.
        vcpus["next"] = guest.accesses + (np.arange(vm.vcpus) - guest.accesses) % vm.vcpus
        self._window = AccessWindow(guest.workload)  # still without accesses: few need any
        if guest.memory.has_bytes:
            self._window.track(guest.memory.content)

    @property
    def faults(self) -> int:
        """Accesses that had to wait for a page."""
        return int(self._state["faults"])

    @property
    def requests(self) -> int:
        """Requests that the destination has sent."""
        return int(self._state["requests"])

    @property
    def zero_pages(self) -> int:
        """Pages sent as zero pages since the switch."""
        return int(self._state["zero_pages"])

    @property
    def accesses(self) -> int:
        """Accesses made by all vCPUs since the switch."""
        vcpus, first = self._vcpus, self._first_access
        count = self._guest.vm.vcpus
        start = first + (np.arange(count) - first) % count
        return int(((vcpus["next"] - start) // count).sum())

    def stalled_seconds(self, now: float) -> float:
        """Return how long vCPUs have waited for pages by ``now``, averaged over the vCPUs."""
        waiting = np.where(self._vcpus["waits_for"] >= 0, now - self._vcpus["since"], 0.0)
        return float((self._vcpus["stalled"] + waiting).mean())

    def guest_time(self, now: float) -> float:
        """Return the guest seconds by ``now``, averaged over the vCPUs."""
        started = max(0.0, now - self._resumes_at)
        stalled = self.stalled_seconds(now) + self._delayed
        return float(self._state["anchor_guest"]) + started - stalled

    def delay(self, seconds: float) -> None:
        """Let all that the guest does from now on happen so much later, for its disk's sake."""
        self._state["anchor_real"] += seconds
        self._delayed += seconds

    def run(self, push: Push, hold: float, until: float) -> float:
        """Run until all has arrived and the guest has run to ``hold``, or to ``until``.

        Returns the time reached. Pages that are in flight at ``until`` arrive in the next call.
        Where the connection is lost, a new one is made once the link is back; if it never is,
        the guest runs on until the loss is noticed, and `ConnectionLost` is raised.
        """
        state = self._state
        self._set_prepaging(push.prepaging)
        self._load_flow()
        state["background"] = push.background
        state["demand"] = push.demand
        state["preempt"] = push.preempt
        state["quota"] = min(push.window_bytes or 0, _MOST_BYTES)
        state["window"], state["demand_limited"] = push.window, push.demand_limited
        state["order_next"] = 0
        state["singly"] = 0 if self._goes_in_bulk(push) else _NO_LIMIT
        lost: ConnectionLost | None = None
        try:
            self._run_to(push.order, hold, until)
        except ConnectionLost as error:
            state["down"] = 1
            self._run_to(push.order, hold, min(until, error.at))
            state["down"] = 0
            lost = error if error.at <= until else None
        self._store_flow()
        self._flow.plans = Plans()
        for bitmap in (self.missing, self._todo, self._guest.sent):
            bitmap.touched()
        if lost is not None:
            raise lost
        finished = state["unsent"] == 0 and state["flight_count"] == 0
        return max(hold, float(state["now"])) if finished else until

    def _goes_in_bulk(self, push: Push) -> bool:
        """Return whether nothing but the link decides when a page leaves that nobody waits for."""
        vm = self._guest.vm
        paced = push.window_bytes or vm.page_seconds or vm.zero_page_seconds
        return not paced and push.window > 0 and not self._guest.memory.has_bytes

    def _run_to(self, order: Integers, hold: float, until: float) -> None:
        """Call the kernel until it is done, with a halt wherever the watch looks."""
        state, watch = self._state, self._watch
        while True:
            instant = math.inf if watch is None else watch.next
            state["hold"], state["until"] = min(hold, instant), min(until, instant)
            self._call(order)
            idle = state["unsent"] == 0 and state["flight_count"] == 0
            end = max(hold, float(state["now"])) if idle else until
            if watch is None or end < instant or until < instant:
                return
            self._look(watch, instant)

    def look(self, now: float) -> None:
        """Let the watch see how things stand at ``now``, between two acts."""
        if self._watch is not None:
            self._load_flow()
            self._look(self._watch, now)

    def _look(self, watch: Watch, now: float) -> None:
        self.missing.touched()
        watch.look(
            now,
            "destination",
            None,
            self.missing,
            self._sent_by_kind,
            self._zeros_before + self.zero_pages,
            self._flow.finished + int(self._state["stream"]),
            self.guest_time(now),
        )

    def _load_flow(self) -> None:
        state, flow = self._state, self._flow
        state["stream"], state["segment"] = flow.stream, flow.segment
        state["shift"], state["ready"] = flow.shift, flow.ready
        state["queue_segment"], state["curve_end"] = 0, flow.curve.end
        state["restarts"] = not flow.shifts_freely
        if flow.stream == 0:
            state["busy_since"] = flow.ready

    def _store_flow(self) -> None:
        state, flow = self._state, self._flow
        flow.stream, flow.segment = int(state["stream"]), int(state["segment"])
        flow.shift, flow.ready = float(state["shift"]), float(state["ready"])

    def _call(self, order: Integers) -> None:
        """Call the kernel until it is done, giving it more room where it asks."""
        state, guest = self._state, self._guest
        while True:
            state["buffer_first"] = self._window.first
            status = run_destination(
                self._states,
                self._vcpus,
                self._window.pages,
                self._window.times,
                self._window.changes,
                guest.memory.arrays,
                self._todo.bits,
                self.missing.bits,
                guest.nonzero.bits,
                guest.sent.bits,
                order,
                self._left,
                self._right,
                self._flight_page,
                self._flight_at,
                self._latency,
                self._streams,
                self._flow.curve.segments,
                self._sent_by_kind,
            )
            if status == NEED_ACCESSES:
                first, last = int(self._vcpus["next"].min()), int(self._vcpus["next"].max())
                self._window.move(first, max(AccessWindow.BLOCK, 2 * (last + 1 - first)))
            elif status == NEED_FLIGHT_ROOM:
                self._widen_flight()
            elif status == NEED_BUSY_PERIOD:
                self._store_flow()
                self._flow.begin(float(state["idle_until"]))
                self._load_flow()
            elif status == NEED_CURVE:
                self._store_flow()
                self._lengthen_curve(vm_page=guest.vm.page_size)
                self._load_flow()
            elif status == NEED_LATENCY_ROOM:
                self._flush_latencies()
                if self._latency.size < 2 * guest.vm.vcpus:
                    self._latency = np.empty(2 * guest.vm.vcpus, np.float64)
            else:
                break
        self._flush_latencies()

    def _lengthen_curve(self, vm_page: int) -> None:
        flow, state = self._flow, self._state
        if flow.share is not None and state["background"] and not state["quota"]:
            self._todo.touched()
            left = len(self._todo & self._guest.nonzero)
            flow.plans = Plans(left * (vm_page + flow.link.message_header), float(state["until"]))
        try:
            flow.extend(flow.stream + vm_page + flow.link.message_header)
        except ConnectionLost:
            if not flow.reconnect():
                raise

    def _set_prepaging(self, prepaging: Prepaging | None) -> None:
        """Set up the pivots, unless the push goes on where it stopped."""
        if prepaging is None or prepaging == self._prepaging:
            return
        self._prepaging = prepaging
        count = _PIVOTS[prepaging]
        self._left = np.full(count, -1, np.int64)
        self._right = np.full(count, self._todo.size, np.int64)
        state = self._state
        state["both_ways"] = prepaging in {"bubble", "multi"}
        state["turn"], state["pivot"] = 0, 0

    def _widen_flight(self) -> None:
        state = self._state
        size = self._flight_page.size
        old = (state["flight_head"] + np.arange(size)) % size
        page, at = np.empty(2 * size, np.int64), np.empty(2 * size, np.float64)
        page[:size], at[:size] = self._flight_page[old], self._flight_at[old]
        self._flight_page, self._flight_at = page, at
        state["flight_head"] = 0

    def _flush_latencies(self) -> None:
        state = self._state
        if state["latencies"]:
            self.latencies.append(self._latency[: int(state["latencies"])].copy())
            state["latencies"] = 0
