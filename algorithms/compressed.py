"""Pre-copy of compressed pages."""

from migsim import Migration, make_codec
from migsim.units import Count, Seconds


def compressed(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    codec: str = "zstd(level=1)",
) -> None:
    """Pre-copies; each page is compressed by itself, or by whatever ``codec`` names.

    QEMU's compress-threads (2.4 of 2015 to 9.0) were ``codec='zlib(level=1, threads=8)'``.

    It loses where the link is faster than the compressor: then the processor sets the pace. And
    what is compressed or encrypted in the guest costs time and gains nothing.
    """
    compressor = make_codec(codec)
    dirty = migration.everything
    for _ in range(max_rounds):
        sent = migration.send(dirty, codec=compressor)
        dirty = migration.take_dirty()
        if migration.seconds_to_send(dirty) * sent.share <= max_downtime:
            break
    migration.pause()
    migration.send(dirty | migration.take_dirty(), codec=compressor)
    migration.resume()
