"""One pass over the disk while writes are mirrored, then pre-copy of memory."""

from migsim import Migration
from migsim.units import Count, Seconds


def storage_mirror(
    migration: Migration, *, max_downtime: Seconds = 0.3, max_rounds: Count = 30
) -> None:
    """Copies the disk once; writes to what is copied already go to both hosts.

    Storage vMotion of vSphere 5.0: I/O mirroring (Mashtizadeh et al., "The Design and Evolution of
    Live Storage Migration in VMware ESX", USENIX ATC 2011). Writes ahead of the copy go to the
    source only, for the copy comes to them. Memory follows by pre-copy (Clark et al., NSDI 2005)
    while writes are still mirrored, so that no block is left for the downtime.
    It loses where the round trip is long or the queue of I/Os short: every write waits for it.
    """
    migration.mirror(unsent=migration.all_blocks)
    migration.send_blocks(migration.all_blocks)
    pages = migration.everything
    for _ in range(max_rounds):
        migration.send(pages)
        pages = migration.take_dirty()
        if migration.seconds_to_send(pages) <= max_downtime:
            break
    migration.pause()
    migration.send(pages | migration.take_dirty())
    migration.resume()
