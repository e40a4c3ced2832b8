"""Iterative copy of the disk with a dirty-block log, then pre-copy of memory."""

from migsim import Migration
from migsim.units import Count, Seconds


def storage_dbt(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    disk_rounds: Count = 30,
) -> None:
    """Copies the disk, then again the blocks written meanwhile, until they fit the downtime.

    Storage vMotion of vSphere 4.0: dirty block tracking (Mashtizadeh et al., "The Design and
    Evolution of Live Storage Migration in VMware ESX", USENIX ATC 2011). Memory follows by
    pre-copy (Clark et al., NSDI 2005), the blocks written meanwhile after each of its rounds.
    It loses where the guest writes faster than the link carries: the rounds do not shrink, and
    what is left is sent in the downtime.
    """
    blocks = migration.all_blocks
    for _ in range(disk_rounds):
        migration.send_blocks(blocks)
        blocks = migration.take_dirty_blocks()
        if migration.seconds_to_send_blocks(blocks) <= max_downtime:
            break
    pages = migration.everything
    for _ in range(max_rounds):
        migration.send(pages)
        migration.send_blocks(blocks | migration.take_dirty_blocks())
        pages, blocks = migration.take_dirty(), migration.take_dirty_blocks()
        rest = migration.seconds_to_send(pages) + migration.seconds_to_send_blocks(blocks)
        if rest <= max_downtime:
            break
    migration.pause()
    migration.send_blocks(blocks | migration.take_dirty_blocks())
    migration.send(pages | migration.take_dirty())
    migration.resume()
