"""Pre-copy of memory, then the disk by fetching on demand beside a background push."""

from migsim import Migration
from migsim.units import Count, Seconds


def storage_postcopy(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    disk_rounds: Count = 0,
) -> None:
    """Switches over as soon as memory is there; blocks of the disk follow.

    Hirofuchi et al., CCGrid 2009: blocks are copied after the guest has moved, those that it asks
    for first, and each goes once. With ``disk_rounds`` the disk is copied before, and only what
    was written since follows, named by a bitmap (Luo et al., CLUSTER 2008). Memory is pre-copied
    (Clark et al., NSDI 2005).
    It loses where the guest reads much that is cold: every such read waits for a round trip and a
    block; and where the link breaks in the second half, the guest is lost.
    """
    blocks = migration.all_blocks
    for _ in range(disk_rounds):
        migration.send_blocks(blocks)
        blocks = migration.take_dirty_blocks()
    pages = migration.everything
    for _ in range(max_rounds):
        migration.send(pages)
        pages = migration.take_dirty()
        if migration.seconds_to_send(pages) <= max_downtime:
            break
    migration.pause()
    migration.send(pages | migration.take_dirty())
    migration.resume(missing_blocks=blocks | migration.take_dirty_blocks())
    migration.push_blocks()
