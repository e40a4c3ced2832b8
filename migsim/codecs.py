"""How pages are encoded: the codecs that an algorithm can choose from.

A codec is a description; what it makes of a page is measured (`migsim.codec_sizes`) or, where
guests have bytes, done (`migsim.encoders`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from migsim._types import Bytes as PageBytes
from migsim.errors import InputError, did_you_mean
from migsim.parameters import Context, convert_all, read_parameters, split_call
from migsim.units import ByteRate, Bytes, Count, Fraction

__all__ = [
    "CODECS",
    "RAW",
    "Codec",
    "Damaged",
    "Encoder",
    "adaptive",
    "dedup",
    "delta",
    "lz4",
    "make_codec",
    "scaled",
    "uniform",
    "xbzrle",
    "zlib",
    "zstd",
]

Method = Literal["raw", "ratio", "whole", "delta", "dedup"]


class Damaged(Exception):  # noqa: N818 - what came is, not what was done
    """What has arrived is no encoded page."""


class Encoder(Protocol):
    """What encodes pages at the source and decodes them at the destination."""

    def encode(self, page: int, old: PageBytes | None, new: PageBytes) -> bytes | None:
        """Return what leaves for ``page``; None where it is better sent as it is.

        ``new`` (uint8) is its content, ``old`` the version that both hosts have, if they have one.
        """
        ...

    def decode(self, page: int, message: bytes, memory: PageBytes) -> None:
        """Change the destination's ``memory`` (pages by page size) as a message says.

        Raises `Damaged` for what is no message.
        """
        ...

    def forget(self, page: int) -> None:
        """Take note that something else was sent for ``page``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One way to encode pages; made by the functions of this module.

    Attributes:
        name: of its rows in the tables of sizes and costs.
        method: what decides the size of a page: nothing (``raw``), a given ``ratio``, the ``whole``
            page, the difference to the version sent before (``delta``), equal pages (``dedup``).
        level: of the compressor.
        packet: pages that are compressed together, as QEMU's multifd does.
        threads: that encode at the same time.
        ratio, bytes_per_second: encoded size over page size, and speed of one thread in page bytes,
            for ``ratio``.
        skips_uniform: pages of one repeated byte cost that byte and what frames it.
        cache: bytes of older versions that the source keeps for deltas; None: all pages.
        keeps_recent: a version is replaced in the cache only by one whose place in it was not used
            since the reading of the dirty log before last, and the cache is not changed once the
            guest is paused (QEMU's rules).
        encoder: for a codec of one's own: makes what encodes and decodes bytes.
    """

    name: str
    method: Method = "whole"
    level: int = 0
    packet: int = 1
    threads: int = 1
    ratio: float = 1.0
    bytes_per_second: float = math.inf
    skips_uniform: bool = False
    cache: int | None = None
    keeps_recent: bool = False
    encoder: Callable[[], Encoder] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise self.wrong("ratio", self.ratio, "0 to 1")
        if not self.bytes_per_second > 0:
            raise self.wrong("rate", self.bytes_per_second, "more than 0")
        if not 1 <= self.threads <= 1024:
            raise self.wrong("threads", self.threads, "1 to 1024")
        if not 1 <= self.packet <= 1024:
            raise self.wrong("packet", self.packet, "1 to 1024 pages")
        if self.packet > 1 and self.encoder is not None:
            raise self.wrong("packet", self.packet, "1 with an encoder of one's own")
        if self.cache is not None and (self.cache < 4096 or self.cache & (self.cache - 1)):
            raise self.wrong("cache", self.cache, "a power of two of at least 4096 bytes")

    @property
    def reads_content(self) -> bool:
        """Whether sizes depend on what is in pages."""
        return self.method != "raw" and (self.method != "ratio" or self.skips_uniform)

    def wrong(self, key: str, value: object, expected: str) -> InputError:
        """Return the error that says what was expected of one of the codec's parameters."""
        return InputError(f"codec '{self.name}': {key} is {value}, expected {expected}")


RAW = Codec(name="raw", method="raw")
"""Pages as they are; a page of zeros costs one byte, as everywhere."""


def uniform() -> Codec:
    """Leaves out pages of zeros and pages of one repeated byte, which has to be looked for."""
    return Codec(name="uniform", method="ratio", skips_uniform=True)


def scaled(*, ratio: Fraction = 0.5, rate: ByteRate = math.inf, threads: Count = 1) -> Codec:
    """Makes of each page a given ``ratio`` of it, at ``rate`` page bytes per second and thread.

    For figures that somebody else has measured; nothing is compressed.
    """
    return Codec(name="scaled", method="ratio", ratio=ratio, bytes_per_second=rate, threads=threads)


def lz4(*, threads: Count = 1) -> Codec:
    """Compresses each page with LZ4."""
    return Codec(name="lz4", threads=threads)


def zlib(*, level: Count = 1, packet: Count = 1, threads: Count = 1) -> Codec:
    """Compresses with zlib, each page by itself or ``packet`` pages together.

    One page at a time, with 8 threads, was QEMU's compress-threads (until 9.0); packets of 128
    pages are its multifd-compression.
    """
    codec = Codec(name=f"zlib-{level}", level=level, packet=packet, threads=threads)
    if not 1 <= level <= 9:
        raise codec.wrong("level", level, "1 to 9")
    return codec


def zstd(
    *, level: Count = 1, packet: Count = 1, dictionary: bool = False, threads: Count = 1
) -> Codec:
    """Compresses with Zstandard, each page by itself or ``packet`` pages together.

    With a ``dictionary``, trained on pages of a guest and known to both hosts, single pages
    compress nearly as well as packets.
    """
    name = f"zstd-{level}-dictionary" if dictionary else f"zstd-{level}"
    codec = Codec(name=name, level=level, packet=packet, threads=threads)
    if not 1 <= level <= 22:
        raise codec.wrong("level", level, "1 to 22")
    return codec


def adaptive(*, threads: Count = 1) -> Codec:
    """Chooses for each page by its content, as MECOM does (Jin et al., Cluster 2009, sec. 4).

    Pages with much similarity between words get a fast compressor (lz4 in WKdm's place), pages with
    some a strong one (zlib in LZO's place), others go as they are.
    """
    return Codec(name="adaptive", threads=threads)


def xbzrle(*, cache: Bytes = 64 * 2**20) -> Codec:
    """QEMU's delta encoding against a direct-mapped cache of older versions, with its rules."""
    return Codec(name="xbzrle", method="delta", cache=cache, keeps_recent=True)


def delta(*, compressor: Literal["none", "zstd"] = "none", cache: Bytes | None = None) -> Codec:
    """Run-length coded differences to the version sent before (Svärd et al., VEE 2011).

    ``compressor=zstd`` compresses the exclusive-or of both versions instead. ``cache`` bounds the
    versions kept at the source, direct-mapped; by default all are kept.
    """
    name = "xbzrle" if compressor == "none" else "delta-zstd-1"
    return Codec(name=name, method="delta", cache=cache)


def dedup() -> Codec:
    """Sends the number of an equal page where the destination has one (Deshpande et al., 2011).

    It may be another guest's of the same gang, where they have an image in common (`migsim.gang`).
    """
    return Codec(name="dedup", method="dedup", skips_uniform=True)


def raw() -> Codec:
    """Sends pages as they are."""
    return RAW


CODECS: dict[str, Callable[..., Codec]] = {
    function.__name__: function
    for function in (raw, uniform, scaled, lz4, zlib, zstd, adaptive, xbzrle, delta, dedup)
}
"""The codecs by name."""


def make_codec(text: str) -> Codec:
    """Return the codec written as ``name(key=value, ...)``: how algorithms take one as parameter.

    Raises `InputError` where the text cannot be used.

    >>> make_codec("zstd(level=3, threads=4)").name
    'zstd-3'
    """
    name, given = split_call(text)
    if name not in CODECS:
        raise InputError(f"unknown codec '{name}', {did_you_mean(name, CODECS)}")
    parameters = read_parameters(CODECS[name], skip=0)
    values = convert_all(f"codec '{name}'", parameters, given, Context())
    return CODECS[name](**values)
