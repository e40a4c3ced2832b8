"""How many bytes codecs make of pages."""

from __future__ import annotations

import zlib

import lz4
import lz4.block
import numpy as np
import zstandard

from migsim._kernels.difference import compare_pages
from migsim._kernels.xbzrle import encode_page
from migsim._types import Integers, Words
from migsim.trace.recording._system import PAGE_SIZE

__all__ = ["Encoder"]


class Encoder:
    """Encodes pages with every codec of which a trace keeps sizes."""

    def __init__(self) -> None:
        # As one would send pages of known size over a connection that has checksums of its own.
        self._zstd = zstandard.ZstdCompressor(
            level=1, write_checksum=False, write_content_size=False, write_dict_id=False
        )
        self._out = np.zeros(PAGE_SIZE, np.uint8)
        page = np.zeros((1, PAGE_SIZE // 8), np.uint64)
        self.measure(page, page, page)  # compiled before the clock starts

    @property
    def libraries(self) -> dict[str, str]:
        """The versions of what the sizes come from."""
        return {
            "lz4": lz4.library_version_string(),
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
            "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
        }

    def measure(self, old: Words, new: Words, kept: Words) -> dict[str, Integers]:
        """Return the columns `SAMPLED` of pages, in bytes: int64 of shape (pages,).

        The pages' previous copies, the pages, and those at the checkpoint: shape (pages, 512). An
        encoding may come out larger than the page.
        """
        since, runs = np.zeros(len(new), np.int64), np.zeros(len(new), np.int64)
        compare_pages(kept, new, since, runs)
        pages, deltas = [row.tobytes() for row in new], [row.tobytes() for row in old ^ new]
        sizes = {
            "size_xbzrle": [self._xbzrle(a, b) for a, b in zip(old, new, strict=True)],
            "size_lz4": [len(lz4.block.compress(page, store_size=False)) for page in pages],
            "size_zlib": [len(zlib.compress(page, 1)) for page in pages],
            "size_zstd": [len(self._zstd.compress(page)) for page in pages],
            "size_delta_zstd": [len(self._zstd.compress(delta)) for delta in deltas],
        }
        return {name: np.array(found, np.int64) for name, found in sizes.items()} | {
            "changed_since": since
        }

    def _xbzrle(self, old: Words, new: Words) -> int:
        size = encode_page(old.view(np.uint8), new.view(np.uint8), old, new, self._out)
        return size if size >= 0 else PAGE_SIZE  # it overflows: the page is sent as it is
