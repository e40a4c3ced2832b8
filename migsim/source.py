"""The guest at the source host, while pages leave: the Python side of the source kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from migsim._kernels.bulk import GO_ON_SINGLY, run_bulk
from migsim._kernels.guest import GuestSets
from migsim._kernels.leaving import OPEN_BLOCK, OpenBlock
from migsim._kernels.sets import BLOCK, BLOCK_WORDS, covers
from migsim._kernels.source import (
    FIRST,
    GO_ON_IN_BULK,
    NEED_ACCESSES,
    NEED_BUSY_PERIOD,
    NEED_CURVE,
    NEED_ENCODER,
    NOT_ENCODED,
    RESENT,
    SOURCE_STATE,
    run_source,
)
from migsim._types import Integers, Record
from migsim.byte_coding import ByteCoding
from migsim.coding import Coding
from migsim.errors import ConnectionLost
from migsim.guest import Guest
from migsim.network import Flow, Plans
from migsim.pages import Pages
from migsim.storage import Storage
from migsim.watch import Watch

__all__ = ["Sent", "Source", "Transfer"]

_NO_LIMIT = 1 << 62

_SINGLY = 64
"""Pages that are sent one by one where they cannot leave in bulk, before that is tried again."""

_SINGLE_BLOCK = 1 << 10
"""Accesses made at a time for those pages, where the buffer was not needed before."""

_LOOK_EVERY = 1 << 20
"""Accesses, at least, from one look whether they change anything to the next."""


_NO_ORDER: Integers = np.empty(0, np.int64)


class Transfer(NamedTuple):
    """What is to leave while the guest runs, and under which conditions.

    Attributes:
        pages: the pages, sent in ascending order from ``start`` on, cyclically.
        coding: what encodes them.
        stop_at: no page starts then or later.
        max_bytes: no page starts once so many stream bytes have left.
        skip_redirtied: leave out pages that are in the dirty log again when their turn comes.
        buffered: the sender goes on once the sockets have taken a page, not once it has left.
        order: page numbers to send first, int64.
        rate: stream bytes per second at most, without bursts.
        peek_pages: how many pages of them ``skip_redirtied`` looks up at a time.
    """

    pages: Pages
    coding: Coding
    start: int = 0
    stop_at: float = math.inf
    max_bytes: int | None = None
    skip_redirtied: bool = False
    buffered: bool = False
    order: Integers = _NO_ORDER
    rate: float = math.inf
    peek_pages: int = 1


@dataclass(frozen=True)
class Sent:
    """What one call of `Migration.send` has done.

    Attributes:
        pages: pages sent.
        bytes: stream bytes sent, page headers included.
        seconds: how long it took.
        left: the pages not sent: those after a limit, and those skipped as dirty again.
        share: stream bytes for each byte of the pages that were to be sent, at most 1.
        next_page: the page behind the last one sent, where a cyclic scan goes on.
    """

    pages: int
    bytes: int
    seconds: float
    left: Pages
    share: float
    next_page: int


class Source:
    """Runs the guest and the link together up to the end of a transfer or of a wait.

    Attributes:
        sent_by_kind: int64 (3, 2): pages and content bytes of first copies, resends and faults.
        zero_pages: pages sent as zero pages.
        next_page: the page behind the last one sent.
        watch: who looks on, if anybody does.
        storage: the guest's disk, whose mirrored writes leave between pages.
    """

    def __init__(
        self,
        guest: Guest,
        sent_by_kind: Integers,
        watch: Watch | None = None,
        storage: Storage | None = None,
    ) -> None:
        self._guest = guest
        self.watch = watch
        self.storage = storage
        self.sent_by_kind = sent_by_kind
        self.zero_pages = 0
        self.next_page = 0
        # Plain records: an attribute of a recarray takes a microsecond, an item a tenth of that.
        self._states: Record = np.zeros(1, SOURCE_STATE)
        self._describe_machine(self._states[0])
        self._flow: Flow | None = None  # that the state describes
        self._ran_to, self._under = -math.inf, guest.clock.mapping
        self._unlooked = 0  # accesses since it was looked whether they change anything
        block: Record = np.zeros(1, OPEN_BLOCK)
        block["block"] = -1
        self._block = OpenBlock(
            block, np.zeros(BLOCK_WORDS, np.uint64), np.zeros(BLOCK_WORDS, np.int64),
            np.zeros(BLOCK_WORDS, np.uint64),
        )  # fmt: skip

    def run(
        self, flow: Flow, transfer: Transfer, hold: float, end: float = math.inf
    ) -> tuple[Pages, float]:
        """Run until the transfer has left and the guest has run to ``hold``.

        No page starts at ``end`` or later. Returns the pages that were not sent, and the time
        reached. Where the connection is lost, the guest runs on until that is noticed, and
        `ConnectionLost` is raised.
        """
        lost: ConnectionLost | None = None
        guest, sends = self._guest, bool(transfer.pages)
        if not sends and hold <= self._ran_to and guest.clock.mapping == self._under:
            return transfer.pages, hold  # no time passes
        until, stop_at = hold, min(transfer.stop_at, end)
        state = self._prepare(flow, transfer, hold, stop_at)
        todo = transfer.pages.copy()
        skipped = Pages.none(todo.size if transfer.skip_redirtied else 0)
        window, coding = guest.window, transfer.coding
        kind = FIRST if coding.in_packets and transfer.pages - guest.sent else RESENT
        mirror_at = self._mirror_at(todo, -math.inf)
        in_bulk, sets = self._goes_in_bulk(transfer), guest.sets
        while True:
            if self.watch is not None or self.storage is not None:
                instant = mirror_at if self.watch is None else min(self.watch.next, mirror_at)
                self._halt_at(instant, until, stop_at, idle=not sends)
            status = GO_ON_SINGLY
            if in_bulk:
                state["singly"] = _SINGLY
                status = run_bulk(
                    self._states,
                    window.accesses,
                    sets,
                    guest.uncleared,
                    todo.bits,
                    self._block,
                    flow.curve.segments,
                    self.sent_by_kind,
                )
            if status == GO_ON_SINGLY:
                if window.stands_still or not 0 <= state["access"] <= window.pages.size:
                    self._move_window(_SINGLE_BLOCK)
                status = run_source(
                    self._states,
                    window.pages,
                    window.times,
                    window.changes,
                    guest.memory.arrays,
                    coding.coder,
                    sets,
                    guest.uncleared,
                    todo.bits,
                    skipped.bits,
                    transfer.order,
                    flow.curve.segments,
                    self.sent_by_kind,
                )
            guest.touched()
            todo.touched()
            skipped.touched()
            if status == GO_ON_IN_BULK:
                continue
            if status == NEED_BUSY_PERIOD:
                self._store(flow)
                state["stop_bytes"] -= flow.stream
                flow.begin(math.nextafter(flow.ready, math.inf))
                self._load(flow)
                state["ready"] = flow.ready
                continue
            if status == NEED_CURVE:
                self._store(flow)
                flow.plans = self._plans(flow, transfer, todo)
                try:
                    flow.extend(flow.stream + int(state["largest"]))
                except ConnectionLost as error:
                    lost = error
                    stop_at, until = -math.inf, max(hold, error.at)
                    state["stop_at"], state["hold"] = stop_at, until
                self._load(flow)
                if flow.share is not None:
                    coding.state["threads"] = coding.codec.threads * flow.cpu
                continue
            if status == NEED_ENCODER:
                assert isinstance(coding, ByteCoding)
                state["encoded"] = coding.encode(int(state["page"]))
                continue
            if status == NEED_ACCESSES:
                window.stands_still = in_bulk and self._nothing_changes(sets)
                if not window.stands_still:
                    self._move_window()
                continue
            reached = max(float(state["turn"]), float(state["hold"]))
            if reached >= mirror_at:
                due, mirror_at = mirror_at, math.inf
                if todo and float(state["turn"]) < stop_at:  # otherwise they belong to the next act
                    before = float(state["ready"])
                    try:
                        self._mirror(flow, reached, due)
                    except ConnectionLost as error:
                        lost = error
                        stop_at, until = -math.inf, max(hold, error.at)
                        continue
                    # Pages have waited meanwhile; now they get as much time, one at least.
                    turn = math.nextafter(state["turn"], math.inf)
                    mirror_at = self._mirror_at(todo, max(turn, turn + flow.ready - before))
                continue
            if self.watch is None or reached < self.watch.next:
                break
            self._look(self.watch, reached, flow)
        if window.stands_still:
            self._move_window()
        guest.accesses = window.first + int(state["access"])
        guest.clock.lag = float(state["lag"])
        if sends:
            self._store(flow)
            flow.plans = Plans()
        self.zero_pages = int(state["zero_pages"])
        if lost is not None:
            raise lost
        left = todo | skipped if transfer.skip_redirtied else todo
        if sends:
            guest.owed -= transfer.pages - left if left else transfer.pages
        next_page = int(state["cursor"])
        reached = max(float(state["turn"]), hold) if sends else hold
        waiting = coding.flush()
        if waiting:  # the last pages, whose packet was not filled
            self.sent_by_kind[kind, 1] += waiting
            ready = flow.transmit(flow.ready, waiting)
            reached = reached if transfer.buffered else max(hold, ready)
            reached = self.run(flow, Transfer(Pages.none(guest.vm.pages), coding), reached)[1]
        self.next_page = next_page
        self._ran_to, self._under = reached, guest.clock.mapping
        return left, reached

    def _goes_in_bulk(self, transfer: Transfer) -> bool:
        """Return whether nothing but the link decides when the pages leave."""
        guest, vm = self._guest, self._guest.vm
        return (
            transfer.coding.codec.method == "raw"
            and not transfer.skip_redirtied
            and not transfer.order.size
            and math.isinf(transfer.rate)
            and not (vm.page_seconds or vm.zero_page_seconds or vm.first_write_seconds)
            and not guest.memory.tracked
        )

    def _nothing_changes(self, sets: GuestSets) -> bool:
        """Return whether all that the guest writes to was written since it left, and stays so.

        That is looked at once in so many accesses that it takes no time beside them.
        """
        window = self._guest.window
        pages = window.writes_below
        self._unlooked += window.pages.size
        if window.stands_still or not pages or self._unlooked < max(pages, _LOOK_EVERY):
            return False
        self._unlooked = 0
        open_block = int(self._block.state[0]["block"])
        return not 0 <= open_block * BLOCK < pages and bool(covers(sets.recent, pages))

    def _move_window(self, count: int | None = None) -> None:
        """Let the buffer of accesses begin with the next one."""
        window, state = self._guest.window, self._states[0]
        window.move(window.first + int(state["access"]), count)
        state["first_access"], state["access"] = window.first, 0

    def _plans(self, flow: Flow, transfer: Transfer, todo: Pages) -> Plans:
        """Return what will surely leave without a rest, for whoever divides the path."""
        codec = transfer.coding.codec
        if flow.share is None:
            return Plans()
        if codec.method != "raw" or transfer.skip_redirtied:
            return Plans(threads=0 if codec.method == "raw" else codec.threads)
        nonzero = len(todo & self._guest.nonzero)
        size = nonzero * (self._guest.vm.page_size + flow.link.message_header)
        return Plans(min(size, int(self._states[0]["stop_bytes"]) - flow.stream), transfer.stop_at)

    def _mirror_at(self, todo: Pages, earliest: float) -> float:
        """Return when to look for mirrored writes next; infinity where no page has to wait."""
        if self.storage is None or not todo:
            return math.inf
        self._guest.clock.lag = float(self._states[0]["lag"])
        return max(earliest, self.storage.next_mirrored(self._guest.clock))

    def _mirror(self, flow: Flow, reached: float, due: float) -> None:
        """Send the writes that the guest has made while the last page left."""
        assert self.storage is not None
        state, clock = self._states[0], self._guest.clock
        self._store(flow)
        before = flow.finished
        self.storage.run(flow, clock, None, max(reached, math.nextafter(due, math.inf)))
        self._load(flow)
        state["stop_bytes"] -= flow.finished - before
        state["lag"], state["ready"] = clock.lag, flow.ready
        state["turn"] = state["turn"] if state["buffered"] else flow.ready

    def look(self, now: float, flow: Flow) -> None:
        """Let the watch see how things stand at ``now``, between two acts."""
        if self.watch is not None:
            self._load(flow)
            self._look(self.watch, now, flow)

    def _look(self, watch: Watch, now: float, flow: Flow) -> None:
        guest, state = self._guest, self._states[0]
        guest.clock.lag = float(state["lag"])
        watch.look(
            now,
            "source" if guest.clock.running else "paused",
            guest.log,
            guest.stale,
            self.sent_by_kind,
            int(state["zero_pages"]),
            flow.finished + int(state["stream"]),
            guest.clock.guest_time(now),
        )

    def _halt_at(self, instant: float, until: float, stop_at: float, *, idle: bool) -> None:
        """Let the kernel stop at ``instant``, if that comes before the end of what is to be done.

        No page starts then or later, and the guest runs no further than that page leaves.
        """
        state = self._states[0]
        state["stop_at"], state["hold"] = min(stop_at, instant), min(until, instant)
        if idle:
            state["ready"] = state["turn"] = state["hold"]

    def _load(self, flow: Flow) -> None:
        state = self._states[0]
        state["stream"], state["segment"], state["shift"] = flow.stream, flow.segment, flow.shift
        state["curve_end"] = flow.curve.end
        state["behind"] = 0

    def _store(self, flow: Flow) -> None:
        state = self._states[0]
        flow.ready, flow.shift = float(state["ready"]), float(state["shift"])
        flow.stream, flow.segment = int(state["stream"]), int(state["segment"])

    def _describe_machine(self, state: Record) -> None:
        guest, vm = self._guest, self._guest.vm
        state["page_bytes"], state["chunk_shift"] = vm.page_size, guest.chunk_shift
        state["page_seconds"], state["zero_page_seconds"] = vm.page_seconds, vm.zero_page_seconds
        state["first_write_lag"] = vm.first_write_seconds / vm.vcpus

    def _describe_connection(self, state: Record, flow: Flow) -> None:
        link, self._flow = flow.link, flow
        state["round_trip"], state["header_bytes"] = link.rtt, link.message_header
        state["encoder_lead"] = link.socket * link.streams / link.rate

    def _prepare(self, flow: Flow, transfer: Transfer, hold: float, stop_at: float) -> Record:
        guest, state, sends = self._guest, self._states[0], bool(transfer.pages)
        clock, coding = guest.clock, transfer.coding
        if flow is not self._flow:
            self._describe_connection(state, flow)
        state["running"] = clock.running
        state["anchor_real"], state["anchor_guest"] = clock.anchor_real, clock.anchor_guest
        state["stretch"], state["lag"] = clock.stretch, clock.lag
        state["first_access"] = guest.window.first
        state["access"] = guest.accesses - guest.window.first
        self._load(flow)
        if flow.share is not None:
            coding.state["threads"] = coding.codec.threads * flow.cpu
        state["ready"] = flow.ready if sends else hold
        state["turn"] = state["ready"] if not sends or not transfer.buffered else hold
        state["buffered"] = state["begins"] = transfer.buffered
        state["most_shift"] = flow.most_shift
        state["hold"] = hold
        state["stop_at"] = stop_at
        budget = transfer.max_bytes
        state["stop_bytes"] = _NO_LIMIT if budget is None else min(_NO_LIMIT, flow.stream + budget)
        state["cursor"] = transfer.start
        state["order_next"], state["byte_seconds"] = 0, 1.0 / transfer.rate
        state["singly"] = _NO_LIMIT
        state["skip_redirtied"] = transfer.skip_redirtied
        state["peek_pages"], state["peeked"] = transfer.peek_pages, 0
        largest = max(guest.vm.page_size, coding.largest)
        state["largest"] = largest + int(state["header_bytes"])
        state["encoded"] = NOT_ENCODED
        if flow.stream == 0:  # nothing was encoded before there was something to send
            state["encoder_free"] = max(float(state["encoder_free"]), flow.ready)
        return state
