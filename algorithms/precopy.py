"""Iterative pre-copy with a dirty bitmap, as Xen does it."""

from migsim import Migration
from migsim.units import Count, Seconds


def precopy(migration: Migration, *, max_downtime: Seconds = 0.3, max_rounds: Count = 30) -> None:
    """Sends everything, then again what was written meanwhile, until the rest fits the downtime.

    Theimer et al., SOSP 1985; Clark et al., NSDI 2005, sec. 3.2 and 4. After ``max_rounds`` rounds
    the rest is sent with the guest paused, however long that takes (Xen's rule; QEMU has no limit
    of rounds and reads the log again as soon as the rest is below the threshold).
    """
    dirty = migration.everything
    for _ in range(max_rounds):
        migration.send(dirty)
        dirty = migration.take_dirty()
        if migration.seconds_to_send(dirty) <= max_downtime:
            break
    migration.pause()
    migration.send(dirty | migration.take_dirty())
    migration.resume()
