"""The raw counts of a finished migration, and the checks that they must pass."""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass, field

import numpy as np

from migsim._types import Floats, Integers
from migsim.coding import Coding
from migsim.destination import REQUEST_BYTES, Destination
from migsim.guest import Guest
from migsim.network import Flow, Link
from migsim.pages import Pages
from migsim.source import Source
from migsim.storage import Storage
from migsim.storage_destination import StorageDestination
from migsim.timeline import Place

__all__ = ["Ledger", "Switch", "close_books"]

_NAMED = 10

_TIME_TOLERANCE = 1e-9
"""Relative; what rounding of sums of some thousand acts can come to."""


def _named(pages: Pages, what: str = "pages") -> str:
    """Return the first page numbers of a set, for a sentence."""
    first = ", ".join(str(page) for page in pages.first(_NAMED))
    return f"{what} {first}, ..." if len(pages) > _NAMED else f"{what} {first}"


def _total(counts: Integers, column: int) -> int:
    """Return the sum of a column of three numbers, of which Python makes less ado than NumPy."""
    column_of: list[int] = counts[:, column].tolist()
    return sum(column_of)


@dataclass
class Switch:
    """How the guest was switched over to the destination; filled in as it happens.

    Attributes:
        pages: pages of the guest.
        exposed: those that it could read at the destination while they were stale.
        unsent: those of them that were known to be dirty and were not sent.
        unread: those that were in the dirty log when the guest was switched over.
        differing: pages of which it could read other bytes than it had written, for guests with
            bytes.
        exposed_blocks: blocks of the disk that it could read at the destination while they were
            stale.
        paused_at, resumes_at: when it stopped at the source and goes on at the destination; NaN
            where that has not happened.
        bitmap_bytes, device_bytes: stream bytes of the bitmap of missing pages, of the device
            state.
        replay_error: as in `Ledger`.
    """

    pages: InitVar[int]
    exposed: Pages = field(init=False)
    unsent: Pages = field(init=False)
    unread: Pages = field(init=False)
    differing: Pages = field(init=False)
    exposed_blocks: Pages = field(default_factory=lambda: Pages.none(0))
    paused_at: float = math.nan
    resumes_at: float = math.nan
    bitmap_bytes: int = 0
    device_bytes: int = 0
    replay_error: int = 0

    def __post_init__(self, pages: int) -> None:
        self.exposed = self.unsent = self.unread = self.differing = Pages.none(pages)

    def examine(self, guest: Guest, lacking: Pages) -> None:
        """Note what is wrong at the destination where ``guest`` goes on without ``lacking``."""
        self.exposed = guest.stale - lacking
        if self.exposed:
            self.unsent = self.exposed & guest.owed
            self.unread = self.exposed & guest.log - guest.owed
        self.differing = guest.memory.differing() - lacking


@dataclass(frozen=True)
class Ledger:
    """What the handle has counted.

    Attributes:
        place: where the guest was in the end.
        seconds, downtime, paused, throttled, tracking, mirror, stalled, disk_stalled, guest:
            seconds, as in `Result`.
        latencies: seconds of each fault.
        encoded_pages, unchanged_pages, cache_misses, overflows, cpu_seconds: as in `Result`.
        exposed, unsent, unread: as in `Switch`.
        differing: pages whose bytes at the destination are not what the guest has written, at the
            switch-over or in the end; for guests with bytes.
        missing: pages that never arrived.
        exposed_blocks: as in `Switch`.
        missing_blocks: blocks of the disk that never arrived.
        sent_disk: int64 (3, 2): number and content bytes of blocks copied or pushed, of mirrored
            writes, and of blocks fetched on demand.
        disk_faults: as in `Result`.
        sent_by_kind: int64 (3, 2): pages and content bytes of first copies, resends and faults.
        carried: stream bytes as the link has counted them.
        replay_error: accesses replayed at the source, less those that the workload has up to the
            guest time reached there; one may fall on the border.
    """

    place: Place
    seconds: float
    downtime: float
    paused: float
    throttled: float
    tracking: float
    mirror: float
    stalled: float
    disk_stalled: float
    guest: float
    rounds: int
    acts: int
    accesses: int
    faults: int
    requests: int
    latencies: Floats
    exposed: Pages
    unsent: Pages
    unread: Pages
    differing: Pages
    missing: Pages
    exposed_blocks: Pages
    missing_blocks: Pages
    sent_disk: Integers
    disk_faults: int
    sent_by_kind: Integers
    zero_pages: int
    encoded_pages: int
    unchanged_pages: int
    cache_misses: int
    overflows: int
    cpu_seconds: float
    bitmap_bytes: int
    device_bytes: int
    carried: int
    replay_error: int

    @property
    def pages_sent(self) -> int:
        """Pages sent, each time that one was sent."""
        return _total(self.sent_by_kind, 0)

    @property
    def messages(self) -> int:
        """Pages, blocks and mirrored writes sent: each has a header."""
        return self.pages_sent + _total(self.sent_disk, 0)

    @property
    def payload_bytes(self) -> int:
        """Contents of pages, of blocks and writes of the disk, the bitmap and the device state."""
        content = _total(self.sent_by_kind, 1) + _total(self.sent_disk, 1)
        return content + self.bitmap_bytes + self.device_bytes

    def header_bytes(self, link: Link) -> int:
        """Headers of messages and of packets, of requests too."""
        messages = self.messages * link.message_header
        return messages + link.header_bytes(self.carried) + self.requests * link.packet_overhead

    def request_bytes(self) -> int:
        """Contents of the requests."""
        return self.requests * REQUEST_BYTES

    def _causes(self) -> str:
        """Return why pages were stale at the destination, as the rest of a sentence."""
        unlogged = self.exposed - self.unsent - self.unread
        causes = [
            (self.unsent, "known to be dirty and not sent"),
            (self.unread, "in the dirty log, which was not read again"),
            (unlogged, "written after they were sent, and the dirty log has lost that"),
        ]
        return ", ".join(f"{len(pages)} {cause}" for pages, cause in causes if pages)

    def breaches(self, link: Link) -> list[str]:
        """Return a sentence for each invariant that does not hold; an empty list is the rule."""
        found = []
        if self.exposed:
            found.append(
                f"{len(self.exposed)} stale pages were readable at the destination "
                f"({_named(self.exposed)}): {self._causes()}"
            )
        wrong = self.differing - self.exposed - self.missing
        if wrong:
            found.append(
                f"{len(wrong)} pages were sent after their last write, but arrived with other "
                f"bytes: their codec is wrong ({_named(wrong)})"
            )
        if self.missing:
            found.append(
                f"{len(self.missing)} pages never reached the destination ({_named(self.missing)})"
            )
        if self.exposed_blocks:
            found.append(
                f"{len(self.exposed_blocks)} stale blocks of the disk were readable at the "
                f"destination ({_named(self.exposed_blocks, 'blocks')})"
            )
        if self.missing_blocks:
            found.append(
                f"{len(self.missing_blocks)} blocks of the disk never reached the destination "
                f"({_named(self.missing_blocks, 'blocks')})"
            )
        if self.sent_by_kind.min() < 0 or self.carried < 0:
            found.append("less than nothing was sent")
        if abs(self.replay_error) > 1:
            found.append(f"the guest made {self.replay_error} accesses too many for its time")
        if self.place == "paused":
            found.append("the guest was left paused: it runs at no host")
        spent = self.guest + self.throttled + self.tracking + self.mirror
        spent += self.paused + self.stalled + self.disk_stalled
        if not math.isclose(spent, self.seconds, rel_tol=_TIME_TOLERANCE, abs_tol=_TIME_TOLERANCE):
            found.append(f"{self.seconds!r} s have passed, but {spent!r} s are accounted for")
        stream = self.payload_bytes + self.messages * link.message_header
        if stream != self.carried:
            found.append(f"the link carried {self.carried} bytes, {stream} are accounted for")
        return found


def close_books(
    now: float,
    guest: Guest,
    source: Source,
    destination: Destination | None,
    flow: Flow,
    switch: Switch,
    codings: list[Coding],
    storage: Storage | None,
    storage_destination: StorageDestination | None,
    *,
    rounds: int,
    acts: int,
) -> Ledger:
    """Return what all parts of a migration that ends ``now`` have counted."""
    clock = guest.clock
    place: Place = "source" if clock.running else "paused"
    stalled, guest_seconds, latencies = 0.0, clock.anchor_guest, [np.empty(0)]
    disk, requests = storage_destination, destination.requests if destination else 0
    switched_at, zero_pages = now, source.zero_pages
    if destination is not None:
        place, switched_at = "destination", switch.resumes_at
        stalled, guest_seconds = destination.stalled_seconds(now), destination.guest_time(now)
        latencies += destination.latencies
        zero_pages += destination.zero_pages
    paused = 0.0 if math.isnan(switch.paused_at) else switched_at - switch.paused_at
    return Ledger(
        place=place,
        seconds=now,
        downtime=paused,
        paused=paused,
        throttled=clock.throttled_seconds,
        tracking=clock.tracking_seconds,
        mirror=clock.mirror_seconds,
        stalled=stalled,
        disk_stalled=disk.stalled_seconds if disk else 0.0,
        guest=guest_seconds,
        rounds=rounds,
        acts=acts,
        accesses=guest.accesses + (destination.accesses if destination else 0),
        faults=destination.faults if destination else 0,
        requests=requests + (disk.requests if disk else 0),
        latencies=np.concatenate(latencies),
        exposed=switch.exposed,
        unsent=switch.unsent,
        unread=switch.unread,
        differing=switch.differing
        if destination is None
        else (switch.differing | guest.memory.differing()),
        missing=destination.missing.copy() if destination else Pages.none(guest.vm.pages),
        exposed_blocks=switch.exposed_blocks,
        missing_blocks=disk.missing.copy() if disk else Pages.none(0),
        sent_disk=storage.sent if storage else np.zeros((3, 2), np.int64),
        disk_faults=disk.faults if disk else 0,
        sent_by_kind=source.sent_by_kind,
        zero_pages=zero_pages,
        encoded_pages=sum(int(coding.state["encoded"]) for coding in codings),
        unchanged_pages=sum(int(coding.state["unchanged"]) for coding in codings),
        cache_misses=sum(int(coding.state["misses"]) for coding in codings),
        overflows=sum(int(coding.state["overflows"]) for coding in codings),
        cpu_seconds=sum(float(coding.state["cpu_seconds"]) for coding in codings),
        bitmap_bytes=switch.bitmap_bytes,
        device_bytes=switch.device_bytes,
        carried=flow.carried,
        replay_error=switch.replay_error,
    )
