"""A chain of snapshots, each copied while the guest writes to the next, then memory."""

from migsim import Migration, Pages
from migsim.units import Count, Seconds


def storage_snapshot(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    max_snapshots: Count = 30,
) -> None:
    """Copies a snapshot of the disk, then what was written since, until that is small.

    Storage vMotion of ESX 3.5: snapshotting (Mashtizadeh et al., "The Design and Evolution of Live
    Storage Migration in VMware ESX", USENIX ATC 2011). Each copied child is merged into its parent
    at the destination. Memory follows by pre-copy (Clark et al., NSDI 2005), one more snapshot
    after each of its rounds.
    It loses against a dirty-block log by the merges: they take the destination's device, and the
    last one is part of the downtime.
    """
    migration.send_blocks(migration.snapshot())
    for _ in range(max_snapshots):
        child = _copy_child(migration)
        if migration.seconds_to_send_blocks(child) <= max_downtime:
            break
    pages = migration.everything
    for _ in range(max_rounds):
        migration.send(pages)
        child = _copy_child(migration)
        pages = migration.take_dirty()
        rest = migration.seconds_to_send(pages) + migration.seconds_to_send_blocks(child)
        if rest <= max_downtime:
            break
    migration.pause()
    _copy_child(migration)
    migration.send(pages | migration.take_dirty())
    migration.resume()


def _copy_child(migration: Migration) -> Pages:
    """Freeze what was written since the last snapshot, send and merge it; return its blocks."""
    child = migration.snapshot()
    migration.send_blocks(child)
    migration.merge_snapshot(child)
    return child
