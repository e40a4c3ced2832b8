"""The handle through which an algorithm migrates a guest.

It is the only way to act and the only place where virtual time passes; all that is measured is
measured here, so an algorithm can neither forget to account for something nor cheat.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NoReturn

from migsim._types import Integers
from migsim.codecs import RAW, Codec
from migsim.destination import Destination, Prepaging, Push
from migsim.disk_acts import DiskActs
from migsim.errors import ConnectionLost, InputError
from migsim.ledger import Ledger, close_books
from migsim.limits import GaveUp, Lost
from migsim.network import Flow
from migsim.pages import Pages, checked_order
from migsim.source import Sent, Transfer
from migsim.storage import BlockTransfer
from migsim.storage_destination import StorageDestination
from migsim.timeline import Act, Event, Place

__all__ = ["Migration"]

_MOST_CHANNELS = 1024


class Migration(DiskActs):
    """One running migration, in the hands of an algorithm."""

    def open_channels(self, channels: int) -> None:
        """Send over ``channels`` parallel connections from now on, as QEMU's multifd does.

        They are opened beside the first connection, which takes a round trip or more. Raises
        `InputError` outside 1 to 1024, and RuntimeError once something was sent.
        """
        self._calls.act()
        if not 1 <= channels <= _MOST_CHANNELS:
            raise InputError(f"open_channels({channels}): expected 1 to {_MOST_CHANNELS}")
        if self._flow.carried:
            raise RuntimeError("open_channels() after something was sent")
        self.link = dataclasses.replace(self.link, streams=channels)
        started = self._now
        self._flow = Flow(self.link, self._now, self._seed, self._flow.share)
        self.connect()
        self._log("wait", started, self.guest_is)

    def send(
        self,
        pages: Pages,
        *,
        codec: Codec = RAW,
        start: int = 0,
        until: float = math.inf,
        max_bytes: int | None = None,
        skip_redirtied: bool = False,
        buffered: bool = False,
        order: Integers | None = None,
        rate: float = math.inf,
        peek_pages: int = 1,
    ) -> Sent:
        """Send ``pages`` in ascending order; return when the last has left.

        Each page is sent with the content that it has when its turn comes, encoded by ``codec``
        (`migsim.codecs`); what writes change is kept track of from the first codec but `RAW` on.
        ``start`` is the page to begin with (the order is cyclic), ``until`` a time and
        ``max_bytes`` an amount of stream bytes after which no further page starts.
        ``skip_redirtied`` leaves out pages that are in the dirty log again when their turn comes
        (Xen's peek), the log being looked at for ``peek_pages`` pages at a time. ``buffered`` goes
        on, and returns, as soon as the sockets have taken a page: so a hypervisor's blocking writes
        are ahead of the link. ``order`` (int64 page numbers) tells which go first, ``rate`` the
        stream bytes per second that leave at most, without bursts (not together with
        ``buffered``). Raises RuntimeError once the guest is at the destination, ValueError for
        pages that the guest does not have and for a wrong combination, and `InputError` for a codec
        that has not been measured.
        """
        self._calls.act()
        if self._destination is not None:
            raise RuntimeError("send() after resume(): use push()")
        if pages.size != self.vm.pages or not 0 <= start <= self.vm.pages:
            raise ValueError(
                f"send() of pages of {pages.size} from page {start}: "
                f"the guest has {self.vm.pages} pages"
            )
        if peek_pages < 1:
            raise ValueError(f"send(peek_pages={peek_pages}): expected 1 or more")
        if not rate > 0 or (buffered and not math.isinf(rate)):
            raise ValueError(f"send(rate={rate}): expected more than 0, and not buffered")
        if self.guest_is == "source" and not self._round_open:
            self._round += 1
            self._round_open = True
        started, stream = self._now, self._copied_bytes()
        before, zeros = self._pages_sent(), self._source.zero_pages
        place = self.guest_is
        coding = self._codings.prepared(codec, paused=place == "paused")
        transfer = Transfer(
            pages, coding, start, until, max_bytes, skip_redirtied, buffered,
            checked_order(order, self.vm.pages), rate, peek_pages,
        )  # fmt: skip
        begin = self._flow.begin(self._now) if pages else self._now
        if buffered:
            begin = self._now
        try:
            left = self._advance(self._now, transfer)
            self._codings.note_sent(codec, pages, left)
        finally:  # a limit ends the migration here, but what was sent was sent
            size = self._copied_bytes() - stream
            self._meter.add(size, self._now - begin)
            count = self._pages_sent() - before
            self._log(
                "send", started, place, pages=count, stream_bytes=size,
                zero_pages=self._source.zero_pages - zeros,
            )  # fmt: skip
        done = (len(pages) - len(left)) * self.vm.page_size
        share = min(1.0, size / done) if done else 1.0
        next_page = self._source.next_page
        return Sent(count, size, self._now - started, left, share, next_page)

    def take_dirty(self) -> Pages:
        """Return the pages written since the last call (or the start), and clear the dirty log.

        Takes the time of a log sync, also while the guest is paused. The log is cleared at once
        or, for a machine with ``dirty_log="send"``, chunk by chunk before the chunk is sent.
        """
        self._calls.act()
        started = self._now
        place = self.guest_is
        if place != "destination":
            wait = self.vm.sync_wait(self._throttle)
            self._advance(self._now + self.vm.sync_seconds + wait)
        dirty = self._guest.read_log(clear=True)
        elapsed = self._now - self._last_sync
        if elapsed > 0 and place == "source":
            self._dirty_rate = len(dirty) / elapsed
        self._last_sync = self._now
        self._round_open = False
        self._log("sync", started, place, pages=len(dirty))
        return dirty

    def peek_dirty(self) -> Pages:
        """Return the pages in the dirty log without clearing it, and without a cost."""
        self._calls.act()
        return self._guest.read_log(clear=False)

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass with nothing sent but demanded pages. Raises ValueError below 0."""
        self._calls.act()
        if not seconds >= 0:
            raise ValueError(f"wait({seconds}): expected 0 or more seconds")
        started, place = self._now, self.guest_is
        self._advance(self._now + seconds, until=self._now + seconds)
        self._log("wait", started, place)

    def throttle(self, share: float) -> None:
        """Take ``share`` of their time from the vCPUs until further notice; 0 gives it all back.

        They run for 10 ms at a time, as under QEMU; `VirtualMachine.speed` tells what that means to
        the workload. Raises ValueError outside 0 to 0.99, and RuntimeError where the guest does not
        run at the source.
        """
        self._calls.act()
        if not 0 <= share <= 0.99:
            raise ValueError(f"throttle({share}): expected a share from 0 to 0.99")
        if self.guest_is != "source":
            raise RuntimeError("throttle() while the guest does not run at the source")
        self._throttle = share
        self._guest.clock.run(self._now, self.vm.speed(share))
        self._log("throttle", self._now, "source")

    def pause(self) -> None:
        """Stop the guest at the source; downtime begins. Raises RuntimeError if it does not run."""
        self._calls.act()
        if self.guest_is != "source":
            raise RuntimeError("pause() while the guest does not run at the source")
        self._throttle = 0.0
        self._guest.clock.pause(self._now)
        self._switch.replay_error = self._guest.replay_error()
        self._switch.paused_at = self._now
        self._round_open = False
        self._log("pause", self._now, "source")

    def resume(
        self,
        missing: Pages | None = None,
        *,
        missing_blocks: Pages | None = None,
        announce: bool = True,
    ) -> None:
        """Send the device state and let the guest go on at the destination.

        ``missing`` are the pages that follow later, by `push` or on demand (post-copy). Their
        bitmap is sent first, unless all pages are missing or the destination knows it
        (``announce=False``). ``missing_blocks`` of the disk follow in the same way, by
        `push_blocks` or on demand. Without either the migration is complete when this returns.
        Raises RuntimeError where the guest is not paused, and where pages and blocks are missing at
        once.
        """
        self._calls.act()
        if self.guest_is != "paused":
            raise RuntimeError("resume() while the guest is not paused at the source")
        lacking = self.nothing if missing is None else missing
        blocks = self.no_blocks if missing_blocks is None else missing_blocks & self.all_blocks
        if lacking and blocks:
            raise RuntimeError("resume() with pages and blocks missing: send the pages first")
        switch, started, bitmap = self._switch, self._now, 0
        late = lacking or blocks
        if late and announce and len(late) < late.size:
            bitmap = -(-late.size // 8)
        size = bitmap + self.vm.device_bytes
        try:
            left = self._flow.transmit(self._now, size)
        except ConnectionLost as error:
            try:
                self._connection_lost(error)
            finally:
                self._log("resume", started, "paused")
        switch.bitmap_bytes, switch.device_bytes = bitmap, self.vm.device_bytes
        switch.examine(self._guest, lacking)
        switch.resumes_at = left + self.link.one_way + self.vm.resume_seconds
        if self._storage is not None:
            switch.exposed_blocks = self._storage.stale - blocks
        elif self._disk is not None:
            switch.resumes_at += self._disk.lock_seconds
        try:
            self._advance(left if late else switch.resumes_at)
        except GaveUp:  # its time is over with the device state on the way
            self._log("resume", started, "paused", pages=len(late), stream_bytes=size)
            raise
        self._guest.clock.settle(self._now)
        self._destination = Destination(
            self._guest, self._flow, lacking.copy(), switch.resumes_at, self._sent_by_kind,
            self._source.watch, self._source.zero_pages,
        )  # fmt: skip
        if self._storage is not None and blocks:
            self._storage_destination = StorageDestination(
                self._storage, self._flow, self._guest.clock, blocks.copy(), switch.resumes_at
            )
        self._log("resume", started, "paused", pages=len(late), stream_bytes=size)

    def push(
        self,
        *,
        prepaging: Prepaging = "forward",
        background: bool = True,
        demand: bool = True,
        order: Integers | None = None,
        until: float = math.inf,
        preempt: bool = True,
        window_bytes: int | None = None,
        demand_limited: bool = False,
    ) -> None:
        """Send missing pages to the running guest, demanded ones first, until none is missing.

        ``prepaging`` tells where the push goes on after a fault, ``order`` (int64 page numbers)
        what goes before. ``background=False`` serves demanded pages only and needs an ``until``,
        a time after which this returns in any case; ``demand=False`` only pushes. ``preempt`` gives
        demanded pages a connection of their own; without it they wait behind what the sockets
        hold. After ``window_bytes`` in a window of 100 ms the push sleeps to the window's end, and
        with ``demand_limited`` so do demanded pages without a connection of their own. Raises
        RuntimeError before `resume` and ValueError for a wrong combination.
        """
        self._calls.act()
        if self._destination is None:
            raise RuntimeError("push() before resume()")
        if not background and (math.isinf(until) or not demand):
            raise ValueError("push(background=False) needs demand and an until: it may never end")
        if window_bytes is not None and window_bytes < 1:
            raise ValueError(f"push(window_bytes={window_bytes}): expected 1 or more, or None")
        started, stream, faults = self._now, self._flow.carried, self._destination.faults
        before, zeros = self._pages_sent(), self._destination.zero_pages
        chosen = Push(
            background, demand, prepaging, checked_order(order, self.vm.pages), preempt=preempt,
            window_bytes=window_bytes, demand_limited=demand_limited,
        )  # fmt: skip
        try:
            self._advance(self._now, push=chosen, until=until)
        finally:
            self._log(
                "push", started, "destination",
                pages=self._pages_sent() - before,
                stream_bytes=self._flow.carried - stream,
                zero_pages=self._destination.zero_pages - zeros,
                faults=self._destination.faults - faults,
            )  # fmt: skip

    def give_up(self, reason: str) -> None:
        """Abandon the migration: the guest stays at the source, the outcome is ``gave_up``.

        Raises RuntimeError after `resume`: then there is no way back.
        """
        if self._destination is not None:
            raise RuntimeError("give_up() after resume(): the guest is at the destination")
        raise GaveUp(reason)

    # ---- the end ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the connection, before the first act: `migsim.run` calls it, no algorithm does.

        The guest runs on meanwhile; a hypervisor connects before it stops anything.
        """
        self._advance(self._flow.ready)
        if self._flow.dead:
            raise GaveUp(f"there was no connection within {self._now:g} s: the link is down")

    def close(self) -> Ledger:
        """Return what was measured, after the last act: `migsim.run` calls it, no algorithm does.

        A guest that was switched over is followed up to its first instruction.
        """
        if self._destination is not None and self._now < self._switch.resumes_at:
            self._run(self._switch.resumes_at, until=self._switch.resumes_at)
        if self._destination is None:
            self._guest.clock.settle(self._now)
        return close_books(
            self._now, self._guest, self._source, self._destination, self._flow, self._switch,
            self._codings.all, self._storage, self._storage_destination,
            rounds=self._round, acts=self._calls.acts,
        )  # fmt: skip

    # ---- time -----------------------------------------------------------------------------

    def _advance(
        self,
        hold: float,
        transfer: Transfer | None = None,
        push: Push | None = None,
        until: float = math.inf,
        blocks: BlockTransfer | None = None,
        *,
        push_blocks: bool = False,
    ) -> Pages:
        """Let time pass, as `_run` does, but not beyond the limit."""
        end = self._limits.seconds
        try:
            left = self._run(hold, transfer, push, until, end, blocks, push_blocks=push_blocks)
        except ConnectionLost as error:
            self._connection_lost(error)
        if self._now >= end:
            raise GaveUp(f"the migration reached the limit of {end:g} s of virtual time")
        return left

    def _run(
        self,
        hold: float,
        transfer: Transfer | None = None,
        push: Push | None = None,
        until: float = math.inf,
        end: float = math.inf,
        blocks: BlockTransfer | None = None,
        *,
        push_blocks: bool = False,
    ) -> Pages:
        """Run guest and link: the one place where time moves. Returns the pages not sent.

        The guest runs at least to ``hold``; what is sent may take longer, at the destination to
        ``until`` at most. After ``end`` nothing starts.
        """
        if self._destination is not None:
            chosen = push or Push(background=False)
            hold, until = min(hold, end), min(max(hold, until), end)
            if chosen.background or push_blocks:
                self._flow.begin(self._now)
            if self._lacking_blocks():  # no page is missing, so memory only follows
                hold = until = self._run_disk_there(hold, until, push_blocks=push_blocks)
                chosen = Push(background=False)
            self._now = self._destination.run(chosen, hold, until)
            return self.nothing
        hold = min(hold, end)
        sending = transfer
        if sending is None:
            sending = Transfer(self.nothing, self._codings.prepared(RAW))
            hold = self._run_disk_here(hold, blocks, end)
        left, self._now = self._source.run(self._flow, sending, hold, end)
        if transfer is not None:
            self._run_disk_here(self._now, None, end)
        return left

    def _run_disk_here(self, hold: float, blocks: BlockTransfer | None, end: float) -> float:
        """Run the disk at the source up to ``hold``, or until ``blocks`` have left."""
        if self._storage is None:
            return hold
        if blocks is not None:
            blocks = dataclasses.replace(blocks, stop_at=min(blocks.stop_at, end))
        return self._storage.run(self._flow, self._guest.clock, blocks, hold)

    def _run_disk_there(self, hold: float, until: float, *, push_blocks: bool) -> float:
        """Run the disk at the destination while blocks are missing, which delays the guest."""
        storage = self._storage_destination
        assert storage is not None
        assert self._destination is not None
        before = storage.stalled_seconds
        try:
            return storage.run(hold, until, background=push_blocks)
        finally:
            self._destination.delay(storage.stalled_seconds - before)

    def _connection_lost(self, error: ConnectionLost) -> NoReturn:
        """End the migration: a guest at the source runs on there, another one is lost."""
        self._now = max(self._now, min(error.at, self._limits.seconds))
        if self._destination is not None:
            lacking = f"{len(self._lacking())} pages"
            if self._lacking_blocks():
                lacking = f"{len(self._lacking_blocks())} blocks of the disk"
            raise Lost(f"{error} with {lacking} missing at the destination")
        self._guest.clock.run(self._now, 1.0)
        raise GaveUp(f"{error}; the guest runs on at the source")

    def _pages_sent(self) -> int:
        pages: list[int] = self._sent_by_kind[:, 0].tolist()
        return sum(pages)  # of three numbers, faster than NumPy's

    def _log(
        self,
        act: Act,
        start: float,
        guest: Place,
        *,
        pages: int = 0,
        stream_bytes: int = 0,
        zero_pages: int = 0,
        faults: int = 0,
    ) -> None:
        if self._destination is not None:
            self._destination.look(self._now)
        else:
            self._source.look(self._now, self._flow)
        speeds = {"source": 1.0 / self._guest.clock.stretch, "paused": 0.0, "destination": 1.0}
        self._timeline.events.append(
            Event(
                act, start, self._now, self._round, guest, pages, stream_bytes, zero_pages, faults,
                speeds[guest],
            )
        )  # fmt: skip
