"""Pre-copy that sends what changed within a page instead of the page."""

from typing import Literal

from migsim import Migration, make_codec
from migsim.units import Count, Seconds


def delta(
    migration: Migration,
    *,
    max_downtime: Seconds = 0.3,
    max_rounds: Count = 30,
    compressor: Literal["none", "zstd"] = "none",
) -> None:
    """Pre-copies; pages that are sent again are delta-compressed against the copy sent before.

    Svärd et al., VEE 2011: runs of changed bytes against a cache of what was sent. It loses where
    writes change whole pages.
    """
    codec = make_codec(f"delta(compressor={compressor})")
    dirty = migration.everything
    for _ in range(max_rounds):
        sent = migration.send(dirty, codec=codec)
        dirty = migration.take_dirty()
        shrunk = sent.bytes / max(1, sent.pages * migration.vm.page_size)
        if migration.seconds_to_send(dirty) * min(1.0, shrunk) <= max_downtime:
            break
    migration.pause()
    migration.send(dirty | migration.take_dirty(), codec=codec)
    migration.resume()
