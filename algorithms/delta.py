"""Pre-copy that sends what changed within a page instead of the page."""

from typing import Literal

from migsim import Migration, codecs
from migsim.units import Bytes, Count, Seconds


def delta(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    compressor: Literal["none", "zstd"] = "none",
    cache: Bytes | None = None,
) -> None:
    """Pre-copies; a page that is sent again goes as the bytes that changed since it was sent.

    Svärd et al., VEE 2011: run-length coded differences against a cache of what was sent, here of
    all pages unless ``cache`` bounds it; ``compressor=zstd`` compresses the exclusive-or instead.

    It loses where writes change most of a page (a NumPy FFT: 95 %), where pages are written once
    only (a first copy has nothing to differ from), and where memory for the cache is dear.
    """
    codec = codecs.delta(compressor=compressor, cache=cache)
    dirty = migration.everything
    for _ in range(max_rounds):
        sent = migration.send(dirty, codec=codec)
        dirty = migration.take_dirty()
        if migration.seconds_to_send(dirty) * sent.share <= max_downtime:
            break
    migration.pause()
    migration.send(dirty | migration.take_dirty(), codec=codec)
    migration.resume()
