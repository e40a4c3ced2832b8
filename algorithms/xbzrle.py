"""QEMU's pre-copy with XBZRLE."""

from migsim import Migration, codecs
from migsim.units import MIB, Bytes, Count, Seconds


def xbzrle(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    cache: Bytes = 64 * MIB,
) -> None:
    """Pre-copies as it is at first, then sends deltas against a small cache of older versions.

    QEMU's capability ``xbzrle`` (1.3, 2012) with its cache: direct-mapped, begun in the second
    round, so deltas come from the third round on; a version makes room only once it was not used
    for two readings of the log. What is left is estimated as whole pages, as QEMU does. ``cache``
    is a power of two.

    It loses where the cache is smaller than what is written again and again: then pages miss and
    go whole; and where rounds are few, since the first two gain nothing.
    """
    codec = codecs.xbzrle(cache=cache)
    migration.send(migration.everything)
    dirty = migration.take_dirty()
    for _ in range(max_rounds - 1):
        if migration.seconds_to_send(dirty) <= max_downtime:
            break
        migration.send(dirty, codec=codec)
        dirty = migration.take_dirty()
    migration.pause()
    migration.send(dirty | migration.take_dirty(), codec=codec)
    migration.resume()
