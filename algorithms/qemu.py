"""QEMU's migration as its source has it: pre-copy, post-copy, and what can be added to them."""

import math
from dataclasses import dataclass, field
from typing import Literal

from migsim import RAW, Codec, InputError, Migration, Pages, codecs
from migsim.units import MIB, ByteRate, Bytes, Count, Fraction, Seconds

WINDOW = 0.1
"""Seconds in which a tenth of the bandwidth limit may be sent (BUFFER_DELAY)."""
WAKE_UP = 1e-4
"""Seconds by which a sleeping migration thread is late."""
SLICE = 0.05
"""Seconds after which an iteration ends although there is quota left (MAX_WAIT)."""
RAW_PAGE = 8 + 4096
FLUSHED_PAGES = 32
"""Raw pages of one write to the socket: 64 vectors of a header and a page."""
PACKET = 128 * 4096 + 1344
"""Bytes of a full packet of multifd."""
IN_FLIGHT = 0.95
"""Packets of each channel, of three at most, that are not yet counted when the quota is used up."""
PERIOD = 1.0
"""Seconds for which dirty pages are counted before the throttle may act."""
SYNC_TIMER = 5.0
"""Seconds after which auto-converge reads the dirty log anyway (since 9.2)."""


def qemu(
    migration: Migration,
    *,
    version: float = 10.0,
    max_bandwidth: ByteRate = 128.0 * MIB,
    downtime_limit: Seconds = 0.3,
    switchover_bandwidth: ByteRate = 0.0,
    xbzrle: bool = False,
    xbzrle_cache: Bytes = 64 * MIB,
    auto_converge: bool = False,
    throttle_trigger: Fraction = 0.5,
    throttle_initial: Fraction = 0.2,
    throttle_increment: Fraction = 0.1,
    throttle_tailslow: bool = False,
    max_throttle: Fraction = 0.99,
    dirty_limit: bool = False,
    vcpu_dirty_limit: ByteRate = 1.0 * MIB,
    multifd: bool = False,
    channels: Count = 2,
    compression: Literal["none", "zlib", "zstd"] = "none",
    level: Count = 1,
    postcopy_after: Seconds | None = None,
    postcopy_rounds: Count | None = None,
    postcopy_preempt: bool = False,
    max_postcopy_bandwidth: ByteRate = 0.0,
    cancel_after: Seconds | None = None,
) -> None:
    """Migrates as QEMU's migration thread does, by the rules of ``version`` 7.2 to 10.

    Written from what QEMU 7.2 (2022) and 10.0 (2025) do (migration.c, ram.c) and from traces of the
    latter, not from a paper. In each window of
    100 ms a tenth of ``max_bandwidth`` leaves as fast as link and processor allow; then the thread
    sleeps. Pages go in cyclic order; the cursor outlives the readings of the log, which come as
    soon as the rest is below the threshold: the bandwidth of the last window, or
    ``switchover_bandwidth``, times ``downtime_limit``. The stop phase knows no limit. Bandwidths of
    0 or ``unlimited`` are none.

    ``postcopy_after`` seconds or ``postcopy_rounds`` readings of the log, the guest is switched
    over. From 8.0 on, a demanded page that has no
    connection of its own (``postcopy_preempt``) waits for the next window like all others.

    It loses where the guest dirties more in a round than ``downtime_limit`` lets it leave over:
    there is no limit of rounds, so that it goes on until ``cancel_after`` or post-copy.
    """
    if not 7.2 <= version < math.inf:
        raise InputError(f"algorithm 'qemu': version is {version}, expected 7.2 or later")
    if multifd and (xbzrle or postcopy_after is not None or postcopy_rounds is not None):
        raise InputError("algorithm 'qemu': multifd goes with neither xbzrle nor post-copy")
    throttles = auto_converge or dirty_limit
    if auto_converge and dirty_limit:
        raise InputError("algorithm 'qemu': auto_converge does not go with dirty_limit")
    if throttles and not 0.01 <= throttle_initial <= max_throttle <= 0.99:
        raise InputError(
            f"algorithm 'qemu': throttle_initial is {throttle_initial:g} and max_throttle "
            f"{max_throttle:g}, expected 0.01 to 0.99, and the former not above the latter"
        )
    if multifd:
        migration.open_channels(channels)
    sender = _Sender(migration, version, max_bandwidth, downtime_limit, switchover_bandwidth)
    if multifd:
        sender.channels = channels
        sender.packets = _packets(compression, level, channels)
    sender.deltas = codecs.xbzrle(cache=xbzrle_cache) if xbzrle else None
    throttle = _Throttle(
        migration, throttle_trigger, throttle_initial, throttle_increment, throttle_tailslow,
        max_throttle, vcpu_dirty_limit if dirty_limit else None,
    )  # fmt: skip
    next_tick, syncs_before = SYNC_TIMER, 0

    while True:
        if sender.rest < sender.threshold:
            throttle.note_sync(sender.sync(), sender.carried, throttles)
        switch = (postcopy_after is not None and migration.now >= postcopy_after) or (
            postcopy_rounds is not None and sender.syncs >= postcopy_rounds
        )
        done = not sender.todo or sender.rest < sender.threshold
        if switch and (version >= 8 or not done):
            migration.pause()
            sender.sync()
            migration.resume(missing=sender.todo)
            migration.push(
                prepaging="forward" if not postcopy_preempt or version >= 10.1 else "none",
                preempt=postcopy_preempt,
                window_bytes=sender.quota_of(max_postcopy_bandwidth),
                demand_limited=version >= 8,
            )
            return
        if done:
            break
        sender.iterate()
        sender.limit_rate()
        if throttles and version >= 9.2 and migration.now >= next_tick:
            if 1 <= sender.syncs == syncs_before:
                throttle.note_sync(sender.sync(), sender.carried, throttles)
            next_tick, syncs_before = next_tick + SYNC_TIMER, sender.syncs
        if cancel_after is not None and migration.now >= cancel_after:
            migration.give_up(f"cancelled after {cancel_after:g} s")
    migration.pause()
    sender.sync()
    sender.finish()
    migration.resume()


def _packets(compression: str, level: int, channels: int) -> Codec:
    """Return what multifd's channels make of their packets of 128 pages."""
    if compression == "none":
        return RAW
    encode = codecs.zlib if compression == "zlib" else codecs.zstd
    return encode(level=level, packet=128, threads=channels)


@dataclass
class _Sender:
    """The migration thread: its bitmap, its cursor, its window.

    Attributes:
        todo: the migration bitmap, which gains what a reading of the log finds.
        threshold: bytes below which the rest is thought to fit into the downtime.
        syncs: readings of the log so far, without the one at the start.
    """

    migration: Migration
    version: float
    max_bandwidth: float
    downtime_limit: float
    switchover_bandwidth: float
    channels: int = 0
    packets: Codec = RAW
    deltas: Codec | None = None
    todo: Pages = field(init=False)
    threshold: float = 0.0
    syncs: int = 0
    carried: int = 0
    _cursor: int = 0
    _wrapped: bool = False
    _began: float = field(init=False)
    _sent: int = 0
    _written: int = 0
    _handed_over: int = 0

    def __post_init__(self) -> None:
        self.todo = self.migration.everything
        self._began = self.migration.now

    @property
    def rest(self) -> int:
        """Bytes of the pages that no channel has, zero pages included."""
        return len(self.todo) * self.migration.vm.page_size - self._handed_over

    def quota_of(self, bandwidth: float) -> int | None:
        """Return the bytes of a window at a bandwidth limit of which 0 means none.

        Since 8.0 only what was flushed to the socket counts, 32 raw pages at a time; of multifd's
        packets only those that were written (`IN_FLIGHT`: measured with 10.0, on 2 and 4 channels).
        """
        if not bandwidth or math.isinf(bandwidth):
            return None
        quota = max(1, int(bandwidth * WINDOW))
        if self.channels:
            packets = -(-quota // PACKET) + IN_FLIGHT * min(self.channels, 3)
            if self.packets is not RAW:
                packets -= 0.5  # a packet that is compressed is sent whole: half of one too many
            return int(packets * PACKET)
        flush = RAW_PAGE * FLUSHED_PAGES if self.version >= 8 else 1
        return -(-quota // flush) * flush

    def sync(self) -> int:
        """Read the dirty log; return how many pages it adds to the bitmap."""
        before = len(self.todo)
        self.todo |= self.migration.take_dirty()
        self.syncs += 1
        return len(self.todo) - before

    def iterate(self) -> None:
        """Send from the cursor on, until the quota is used, nothing is left, or a slice is over."""
        quota, until = self.quota_of(self.max_bandwidth), self.migration.now + SLICE
        while self.todo and self.migration.now < until:
            room = None if quota is None else quota - self._sent
            if room is not None and room <= 0:
                return
            self._send(room, until)

    def finish(self) -> None:
        """Send all that is left, without a limit."""
        while self.todo:
            self._send(None, float("inf"))

    def limit_rate(self) -> None:
        """Sleep where the quota is used; at the end of a window, measure the bandwidth."""
        migration, quota = self.migration, self.quota_of(self.max_bandwidth)
        limited = quota is not None and self._sent >= quota
        if limited and migration.now < self._began + WINDOW:
            migration.wait(self._began + WINDOW + WAKE_UP - migration.now)
        elapsed = migration.now - self._began
        if elapsed >= WINDOW:
            # Channels that wait for the link write their packets side by side, and a packet counts
            # when it is written: all of them at about the same time.
            together = 0 if limited else self.channels * PACKET
            written = self.carried - (self.carried % together if together else 0)
            bandwidth = self.switchover_bandwidth or (written - self._written) / elapsed
            self.threshold = bandwidth * self.downtime_limit
            self._handed_over, self._written = together, written
            self._began, self._sent = migration.now, 0

    def _send(self, room: int | None, until: float) -> None:
        """Send pages up to the end of memory, and wrap around there.

        XBZRLE begins once the cursor has wrapped around for the first time.
        """
        size = self.migration.vm.pages
        ahead = self.todo
        if self.deltas is not None and not self._wrapped:
            ahead = self.todo & Pages.range(self._cursor, size, size=size)
        codec = self.deltas if self.deltas is not None and self._wrapped else self.packets
        if ahead:
            sent = self.migration.send(
                ahead, codec=codec, start=self._cursor, until=until, max_bytes=room, buffered=True
            )
            self.todo = self.todo - ahead | sent.left
            self._cursor, self._sent = sent.next_page, self._sent + sent.bytes
            self.carried += sent.bytes
        if not ahead or not sent.left:
            self._cursor, self._wrapped = 0, True


@dataclass
class _Throttle:
    """Auto-converge and dirty-limit: slow the guest down if it dirties too much.

    They act at the second reading of the log, at least a second after the last one that counted,
    at which more than ``trigger`` of what was sent had been dirtied.
    """

    migration: Migration
    trigger: float
    initial: float
    increment: float
    tailslow: bool
    most: float
    dirty_limit: float | None
    share: float = 0.0
    _strikes: int = 0
    _since: float = 0.0
    _dirtied: int = 0
    _carried: int = 0

    def note_sync(self, dirtied: int, carried: int, active: bool) -> None:
        """Count the pages that a reading of the log has added, and act once a period is over."""
        self._dirtied += dirtied
        now = self.migration.now
        if not active or now <= self._since + PERIOD:
            return
        dirty_bytes = self._dirtied * self.migration.vm.page_size
        allowed = self.trigger * (carried - self._carried)
        if dirty_bytes > allowed:
            self._strikes += 1
            if self._strikes >= 2:
                self._strikes = 0
                self._slow_down(dirty_bytes, allowed, now - self._since)
        self._since, self._dirtied, self._carried = now, 0, carried

    def _slow_down(self, dirty_bytes: float, allowed: float, seconds: float) -> None:
        if self.dirty_limit is not None:
            rate = dirty_bytes / seconds / max(1e-9, 1.0 - self.share)
            target = self.dirty_limit * self.migration.vm.vcpus
            self.share = min(self.most, max(0.0, 1.0 - target / rate))
        elif self.share == 0.0:
            self.share = self.initial
        else:
            step = self.increment
            if self.tailslow:
                ideal = (1.0 - self.share) * allowed / dirty_bytes
                step = min(1.0 - self.share - ideal, self.increment)
            self.share = min(self.share + step, self.most)
        self.migration.throttle(self.share)
