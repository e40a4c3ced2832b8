"""What an algorithm can do with the disk of its guest: the storage half of the handle.

A guest without a disk, or with one that both hosts share, has no blocks; then all of this takes no
time and costs nothing, so that algorithms for storage serve every guest.
"""

from __future__ import annotations

import math

from migsim.destination import Push
from migsim.disk import Disk
from migsim.looks import Looks
from migsim.pages import Pages
from migsim.source import Sent, Transfer
from migsim.storage import BlockTransfer
from migsim.timeline import Act, Place

__all__ = ["DiskActs"]


class DiskActs(Looks):
    """A migration with the verbs for its disk; sets of blocks are `Pages` of the disk's blocks."""

    # ---- looks ------------------------------------------------------------------------------

    @property
    def disk(self) -> Disk | None:
        """The guest's disk, shared or not; None where it has none."""
        return self._disk

    @property
    def all_blocks(self) -> Pages:
        """The blocks of the disk that hold something now and have to be moved."""
        self._calls.look()
        return self.no_blocks if self._storage is None else self._storage.allocated.copy()

    @property
    def no_blocks(self) -> Pages:
        """The empty set of blocks."""
        return Pages.none(0 if self._storage is None else self._storage.disk.blocks)

    @property
    def missing_blocks(self) -> Pages:
        """The blocks that the guest at the destination still lacks."""
        self._calls.look()
        return self._lacking_blocks()

    def seconds_to_send_blocks(self, blocks: Pages) -> float:
        """Return how long ``blocks`` take at the measured bandwidth, and at the device's rate.

        Infinite before anything was sent.
        """
        if not blocks or self._storage is None:
            return 0.0
        disk = self._storage.disk
        rate = self.bandwidth
        wire = (disk.block + self.link.message_header) / rate if rate else math.inf
        return len(blocks) * max(wire, disk.block_seconds)

    # ---- verbs ------------------------------------------------------------------------------

    def send_blocks(
        self,
        blocks: Pages,
        *,
        start: int = 0,
        until: float = math.inf,
        max_bytes: int | None = None,
        rate: float = math.inf,
    ) -> Sent:
        """Send ``blocks`` of the disk in ascending order; return when the last has left.

        Each is read when its turn comes, or as of the last `snapshot`. Blocks that hold nothing are
        not sent. ``start``, ``until``, ``max_bytes`` and ``rate`` as for pages
        (`Migration.send`). Raises RuntimeError once the guest is at the destination, ValueError for
        blocks that the disk does not have and for a rate of 0.
        """
        self._calls.act()
        if self._destination is not None:
            raise RuntimeError("send_blocks() after resume(): use push_blocks()")
        if blocks.size != self.no_blocks.size or not 0 <= start <= blocks.size:
            raise ValueError(
                f"send_blocks() of blocks of {blocks.size} from block {start}: "
                f"the disk has {self.no_blocks.size} blocks"
            )
        if not rate > 0:
            raise ValueError(f"send_blocks(rate={rate}): expected more than 0")
        if self._storage is None or not blocks:
            return Sent(0, 0, 0.0, blocks.copy(), 0.0, 0)
        storage, place, started = self._storage, self.guest_is, self._now
        carried, before = self._copied_bytes(), int(storage.sent[0, 0])
        begin = self._flow.begin(self._now)
        try:
            self._advance(self._now, blocks=BlockTransfer(blocks, start, until, max_bytes, rate))
        finally:  # a limit ends the migration here, but what was sent was sent
            size, count = self._copied_bytes() - carried, int(storage.sent[0, 0]) - before
            self._meter.add(size, self._now - begin)
            self._log("send_blocks", started, place, pages=count, stream_bytes=size)
        left, share = storage.left, min(1.0, size / (count * storage.disk.block)) if count else 1.0
        return Sent(count, size, self._now - started, left, share, storage.next_block)

    def take_dirty_blocks(self) -> Pages:
        """Return the blocks written since the last call (or the start), and clear their log.

        Mirrored writes are not in it. The log has one bit a block: reading it takes no time.
        """
        self._calls.act()
        return self.no_blocks if self._storage is None else self._storage.take_log()

    def mirror(self, unsent: Pages | None = None) -> None:
        """Send what the guest writes to its disk to both hosts from now on.

        Writes to the blocks of ``unsent`` go to the source only until `send_blocks` has come to
        them, all blocks by default. A mirrored write goes over the same connection; of its way
        there and back the guest loses one part in ``Disk.queue_depth``. Raises RuntimeError once
        the guest is at the destination.
        """
        self._calls.act()
        if self._destination is not None:
            raise RuntimeError("mirror() after resume(): the guest does not write at the source")
        if self._storage is not None:
            whole = Pages.range(0, self.no_blocks.size, size=self.no_blocks.size)
            self._storage.unmirrored = (whole if unsent is None else unsent & whole).copy()
            self._storage.mirrors = True

    def snapshot(self) -> Pages:
        """Let writes go to a new child from now on; return the blocks of the one before.

        The first snapshot returns all blocks that hold something. What `send_blocks` reads from now
        on is as of this moment. Taking a snapshot takes no time; `merge_snapshot` does.
        """
        self._calls.act()
        return self.no_blocks if self._storage is None else self._storage.take_child()

    def merge_snapshot(self, blocks: Pages) -> None:
        """Merge the ``blocks`` of a child into its parent, as the destination's storage does.

        Each is read and written, at the rates of the disk's device.
        """
        self._calls.act()
        if self._storage is None or not blocks:
            return
        started, place = self._now, self.guest_is
        self._advance(self._now + len(blocks) * self._storage.disk.merge_seconds)
        self._log("wait", started, place)

    def push_blocks(self, *, until: float = math.inf) -> None:
        """Send missing blocks to the running guest, demanded ones first, until none is missing.

        The push goes on behind the block that was demanded last. Ends at the time ``until`` in any
        case. Raises RuntimeError before `Migration.resume`.
        """
        self._calls.act()
        if self._destination is None:
            raise RuntimeError("push_blocks() before resume()")
        if self._storage is None or not self._lacking_blocks():
            return
        storage, started, stream = self._storage, self._now, self._flow.carried
        before, faults = int(storage.sent[:, 0].sum()), self._disk_faults()
        try:
            self._advance(self._now, push=Push(background=False), until=until, push_blocks=True)
        finally:
            self._log(
                "push_blocks", started, "destination",
                pages=int(storage.sent[:, 0].sum()) - before,
                stream_bytes=self._flow.carried - stream,
                faults=self._disk_faults() - faults,
            )  # fmt: skip

    # ---- what `migsim.Migration` defines ------------------------------------------------------

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
        raise NotImplementedError

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
        raise NotImplementedError
