"""What one migration came to: one flat row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Result", "Status"]

Status = Literal["completed", "gave_up", "lost", "failed", "corrupt"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The measurements of one migration. Seconds are virtual time, sizes are bytes.

    Attributes:
        status: ``completed``; ``gave_up`` (a limit, or the algorithm's own decision; the guest
            stays at the source); ``lost`` (the connection died after the switch-over and never came
            back, so the guest lacks memory for good); ``failed`` (the algorithm raised an
            exception); ``corrupt`` (an invariant is broken, so the figures must not be used).
        error: why the status is not ``completed``; with the traceback for ``failed``.
        total_seconds: from the start to the arrival of the last page at a running guest.
        downtime_seconds: from the pause to the first instruction at the destination.
        client_outage_seconds: the longest that a client waited for an answer, or for its TCP to
            give up, because of the pause and until the network had found the guest again
            (`migsim.clients`); post-copy's stalls are not in it.
        connections_lost: how many of the clients' connections were given up.
        bytes_sent: everything on the wire in both directions, headers included; acknowledgements
            without data are not counted.
        payload_bytes: contents of pages, disk, bitmap and device state: bytes_sent without headers
            and requests.
        pages_sent: pages sent, re-sent and zero pages included.
        zero_pages: those of them that were sent as zero pages.
        encoded_pages: those that were sent as less than the page by a codec; zero pages are not.
        unchanged_pages: pages that were not sent because the destination had the same bytes.
        cache_misses: pages of which a delta codec had no older version.
        overflows: pages whose delta was no shorter than the page.
        cpu_seconds: CPU time of the encoder.
        rounds: pre-copy rounds: stretches of sending between two readings of the dirty log while
            the guest ran at the source.
        faults: accesses at the destination that waited for a page.
        requests: requests for pages and blocks that the destination sent.
        fault_mean_seconds, fault_p99_seconds, fault_max_seconds: from the access to the wake-up.
        stalled_seconds: how long vCPUs waited for pages, averaged over the vCPUs.
        throttled_seconds: what throttling took from the guest.
        tracking_seconds: what first-write faults took from it.
        mirror_seconds: what waiting for mirrored writes to its disk took from it.
        disk_stalled_seconds: what waiting for missing blocks of its disk took from it.
        paused_seconds: how long the guest was paused.
        guest_seconds: guest time that passed; with the six above it makes up the total.
        accesses: accesses of the workload that were replayed.
        acts: calls that the algorithm made on the handle.
        corrupt_pages: stale pages that the guest could read at the destination, pages that arrived
            with other bytes than were sent, and pages that never arrived.
        disk_blocks_sent: blocks of the disk sent, each time that one was sent; fetched ones too.
        mirrored_writes: writes to the disk that went to both hosts at once.
        disk_faults: I/Os at the destination that waited for a block.
        corrupt_blocks: stale blocks that the guest could read at the destination, and blocks that
            never arrived.
        sent_disk, sent_mirrored: content bytes of blocks, of mirrored writes.
        sent_first_copy, sent_resent, sent_faulted: content bytes of pages, by why they were sent.
        sent_bitmap, sent_device_state, sent_requests, sent_headers: the rest of bytes_sent.
    """

    status: Status
    error: str
    total_seconds: float
    downtime_seconds: float
    client_outage_seconds: float
    connections_lost: int
    bytes_sent: int
    payload_bytes: int
    pages_sent: int
    zero_pages: int
    encoded_pages: int
    unchanged_pages: int
    cache_misses: int
    overflows: int
    cpu_seconds: float
    rounds: int
    faults: int
    requests: int
    fault_mean_seconds: float
    fault_p99_seconds: float
    fault_max_seconds: float
    stalled_seconds: float
    throttled_seconds: float
    tracking_seconds: float
    mirror_seconds: float
    disk_stalled_seconds: float
    paused_seconds: float
    guest_seconds: float
    accesses: int
    acts: int
    corrupt_pages: int
    disk_blocks_sent: int
    mirrored_writes: int
    disk_faults: int
    corrupt_blocks: int
    sent_disk: int
    sent_mirrored: int
    sent_first_copy: int
    sent_resent: int
    sent_faulted: int
    sent_bitmap: int
    sent_device_state: int
    sent_requests: int
    sent_headers: int

    @property
    def sent_by_kind(self) -> dict[str, int]:
        """Bytes on the wire by kind; they add up to `bytes_sent`."""
        prefix = "sent_"
        return {
            item.name.removeprefix(prefix): getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name.startswith(prefix)
        }

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as plain JSON values."""
        return dict(vars(self))  # they are flat; `dataclasses.asdict` would look into each
