"""Pre-copy that chooses a compressor for each page by its content."""

from migsim import Migration, codecs
from migsim.units import Count, Seconds


def adaptive_compression(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    threads: Count = 4,
) -> None:
    """Pre-copies; pages of similar words are compressed fast, others strongly, random ones not.

    MECOM (Jin et al., Cluster 2009): zero pages go as a mark, pages whose words resemble one
    another through WKdm (lz4 here), the rest through LZO (zlib here).

    It loses to one good compressor: today's zstd is both faster and stronger than the pair, so that
    choosing gains only where many pages are random and need no compressor at all.
    """
    codec = codecs.adaptive(threads=threads)
    dirty = migration.everything
    for _ in range(max_rounds):
        sent = migration.send(dirty, codec=codec)
        dirty = migration.take_dirty()
        if migration.seconds_to_send(dirty) * sent.share <= max_downtime:
            break
    migration.pause()
    migration.send(dirty | migration.take_dirty(), codec=codec)
    migration.resume()
