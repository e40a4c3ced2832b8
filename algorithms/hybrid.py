"""Pre-copy for a few rounds, then post-copy: QEMU's postcopy-ram as it is used."""

from migsim import Migration
from migsim.destination import Prepaging
from migsim.units import Count, Seconds


def hybrid(
    migration: Migration,
    *,
    rounds: Count = 1,
    max_downtime: Seconds = 0.3,
    prepaging: Prepaging = "forward",
    preempt: bool = True,
) -> None:
    """Pre-copies for ``rounds`` rounds, then switches over and pages the rest in.

    Sahni and Varma, CCEM 2012; QEMU's migrate-start-postcopy. Where pre-copy converges earlier,
    the migration ends as pre-copy does. ``preempt`` gives demanded pages a connection of their own.
    """
    dirty = migration.everything
    for _ in range(rounds):
        migration.send(dirty)
        dirty = migration.take_dirty()
        if migration.seconds_to_send(dirty) <= max_downtime:
            migration.pause()
            migration.send(dirty | migration.take_dirty())
            migration.resume()
            return
    migration.pause()
    migration.resume(missing=dirty | migration.take_dirty())
    migration.push(prepaging=prepaging, preempt=preempt)
