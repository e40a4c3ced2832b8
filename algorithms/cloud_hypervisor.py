"""Cloud Hypervisor's pre-copy."""

from typing import Literal

from migsim import InputError, Migration
from migsim.units import Count, Seconds


def cloud_hypervisor(
    migration: Migration,
    *,
    downtime: Seconds = 0.3,
    timeout: Seconds = 3600.0,
    on_timeout: Literal["cancel", "ignore"] = "cancel",
    connections: Count = 1,
) -> None:
    """Pre-copies until the rest takes ``downtime`` at the speed of the iteration before.

    Cloud Hypervisor's ``send-migration`` with its defaults (`docs/live_migration.md` and
    `vmm/src/lib.rs` of 2026, after v53): the log is read before each iteration, and what it holds
    is compared with the bytes per second of the whole last iteration. An iteration that would start
    ``timeout`` seconds after the first one does not: the migration is given up (``cancel``), or
    finished with the guest paused for as long as it takes (``ignore``). Pages go over 1 to 128
    ``connections``; there is neither throttling nor compression.

    It loses where the guest writes faster than the link: then it sends for an hour, for nothing.
    Unlike it, pages of zeros cost a byte here, as everywhere.
    """
    if not 1 <= connections <= 128:
        raise InputError(
            f"algorithm 'cloud_hypervisor': connections is {connections}, expected 1 to 128"
        )
    if connections > 1:
        migration.open_channels(connections)
    began, speed, dirty = migration.now, 0.0, migration.everything
    page_bytes = migration.vm.page_size + migration.link.message_header
    while dirty and len(dirty) * page_bytes > downtime * speed:
        if migration.now - began >= timeout:
            if on_timeout == "cancel":
                migration.give_up(f"it did not converge within {timeout:g} s")
            break
        sent = migration.send(dirty)
        speed = sent.bytes / max(sent.seconds, 1e-9)
        dirty = migration.take_dirty()
    migration.pause()
    migration.send(dirty | migration.take_dirty())
    migration.resume()
