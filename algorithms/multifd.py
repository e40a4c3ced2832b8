"""QEMU's pre-copy over several connections."""

from typing import Literal

from migsim import Migration, codecs
from migsim.units import Count, Seconds


def multifd(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    channels: Count = 2,
    compression: Literal["none", "zlib", "zstd"] = "none",
    level: Count = 1,
) -> None:
    """Pre-copies over ``channels`` connections, each with a thread that compresses packets.

    QEMU's ``multifd`` (2018) and ``multifd-compression`` (5.0, 2020): packets of 128 pages, which
    share what they have in common.

    It loses where one connection fills the link anyway (a LAN of 1 Gbit/s), and with compression
    where the link is faster than the threads together. Here a round trip more is needed to open it.
    """
    codec = codecs.RAW
    if compression == "zlib":
        codec = codecs.zlib(level=level, packet=128, threads=channels)
    elif compression == "zstd":
        codec = codecs.zstd(level=level, packet=128, threads=channels)
    migration.open_channels(channels)
    dirty = migration.everything
    for _ in range(max_rounds):
        sent = migration.send(dirty, codec=codec)
        dirty = migration.take_dirty()
        if migration.seconds_to_send(dirty) * sent.share <= max_downtime:
            break
    migration.pause()
    migration.send(dirty | migration.take_dirty(), codec=codec)
    migration.resume()
