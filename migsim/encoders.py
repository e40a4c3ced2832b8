"""The codecs on bytes: what leaves the source for a page, and what the destination makes of it."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from migsim._kernels.encoding import REFERENCE_BYTES
from migsim._kernels.similarity import similar_words
from migsim._kernels.xbzrle import MALFORMED, decode_page, encode_page
from migsim._types import Bytes
from migsim.codecs import Codec, Damaged, Encoder

if TYPE_CHECKING:
    import zstandard

__all__ = ["compressor_of", "digest_of", "make_encoder"]


class _Compressor(Protocol):
    """Bytes to fewer bytes and back; ``decompress`` takes the length of the result."""

    def compress(self, data: bytes) -> bytes: ...
    def decompress(self, data: bytes, size: int) -> bytes: ...


class _Lz4:
    def __init__(self) -> None:
        import lz4.block

        self._block = lz4.block

    def compress(self, data: bytes) -> bytes:
        return bytes(self._block.compress(data, store_size=False))

    def decompress(self, data: bytes, size: int) -> bytes:
        try:
            return bytes(self._block.decompress(data, uncompressed_size=size))
        except (self._block.LZ4BlockError, ValueError) as error:
            raise Damaged(f"lz4: {error}") from None


class _Zlib:
    def __init__(self, level: int) -> None:
        self._level = level

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data, self._level)

    def decompress(self, data: bytes, size: int) -> bytes:
        stream = zlib.decompressobj()
        try:
            # Never more than the room for it: a damaged message must not fill the memory.
            result = stream.decompress(data, size)
        except zlib.error as error:
            raise Damaged(f"zlib: {error}") from None
        if not stream.eof or stream.unused_data:
            raise Damaged("zlib: the stream does not end where the message does")
        return result


class _Zstd:
    def __init__(self, level: int, dictionary: zstandard.ZstdCompressionDict | None = None) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._out = zstandard.ZstdCompressor(level, dict_data=dictionary, write_content_size=True)
        self._in = zstandard.ZstdDecompressor(dict_data=dictionary)
        self._size_of = zstandard.frame_content_size

    def compress(self, data: bytes) -> bytes:
        return self._out.compress(data)

    def decompress(self, data: bytes, size: int) -> bytes:
        try:
            if self._size_of(data) != size:
                raise Damaged("zstd: the message is for another length")
            return self._in.decompress(data, max_output_size=size, allow_extra_data=False)
        except (self._error, MemoryError) as error:
            raise Damaged(f"zstd: {error}") from None


class _Adaptive:
    """MECOM's choice: a fast compressor for similar words, a strong one for some, else nothing."""

    _FAST_FROM = 0.5  # share of similar words
    _STRONG_FROM = 0.03

    def __init__(self) -> None:
        self._choices: list[_Compressor] = [_Lz4(), _Zlib(1)]
        self._recent = np.zeros(16, np.uint32)

    def compress(self, data: bytes) -> bytes:
        words = np.frombuffer(data, np.uint32)
        share = similar_words(words, self._recent) / words.size
        if share < self._STRONG_FROM:
            return b"\xff" + data
        choice = 0 if share >= self._FAST_FROM else 1
        return bytes([choice]) + self._choices[choice].compress(data)

    def decompress(self, data: bytes, size: int) -> bytes:
        if data[:1] == b"\xff":
            return data[1:]
        if not data or data[0] >= len(self._choices):
            raise Damaged("adaptive: an unknown compressor")
        return self._choices[data[0]].decompress(data[1:], size)


@functools.cache
def _dictionary() -> zstandard.ZstdCompressionDict:
    import zstandard

    data = importlib.resources.files("migsim.data").joinpath("pages.dictionary").read_bytes()
    return zstandard.ZstdCompressionDict(data)


def compressor_of(codec: Codec) -> _Compressor:
    """Return the compressor of a codec that compresses whole pages."""
    family = codec.name.partition("-")[0]
    makers: dict[str, Callable[[], _Compressor]] = {
        "lz4": _Lz4,
        "adaptive": _Adaptive,
        "zlib": lambda: _Zlib(codec.level),
        "zstd": lambda: _Zstd(
            codec.level, _dictionary() if codec.name.endswith("-dictionary") else None
        ),
    }
    return makers[family]()


def _page_of(compressor: _Compressor, message: bytes, size: int) -> Bytes:
    """Return the bytes that a message holds, of which there must be a page."""
    data = compressor.decompress(message, size)
    if len(data) != size:
        raise Damaged(f"{len(data)} bytes came for a page of {size}")
    return np.frombuffer(data, np.uint8)


class _Forgetful:
    """An encoder to which it does not matter what was sent before."""

    def forget(self, page: int) -> None:
        """Do nothing."""


class _Whole(_Forgetful):
    """Each page compressed by itself."""

    def __init__(self, compressor: _Compressor) -> None:
        self._compressor = compressor

    def encode(self, page: int, old: Bytes | None, new: Bytes) -> bytes | None:
        message = self._compressor.compress(new.tobytes())
        return message if len(message) < new.size else None

    def decode(self, page: int, message: bytes, memory: Bytes) -> None:
        memory[page] = _page_of(self._compressor, message, memory.shape[1])


class _Xbzrle(_Forgetful):
    """Runs of the bytes that differ from the old version."""

    def __init__(self) -> None:
        self._room = np.empty(0, np.uint8)

    def encode(self, page: int, old: Bytes | None, new: Bytes) -> bytes | None:
        if old is None:
            return None
        if self._room.size != new.size:
            self._room = np.empty(new.size, np.uint8)
        size = encode_page(old, new, old.view(np.uint64), new.view(np.uint64), self._room)
        return None if size < 0 else self._room[:size].tobytes()

    def decode(self, page: int, message: bytes, memory: Bytes) -> None:
        if decode_page(np.frombuffer(message, np.uint8), memory[page]) == MALFORMED:
            raise Damaged("xbzrle: the message is malformed")


class _Xor(_Forgetful):
    """The exclusive-or of both versions, compressed."""

    def __init__(self, compressor: _Compressor) -> None:
        self._compressor = compressor

    def encode(self, page: int, old: Bytes | None, new: Bytes) -> bytes | None:
        if old is None:
            return None
        difference = old ^ new
        if not difference.any():
            return b""
        message = self._compressor.compress(difference.tobytes())
        return message if len(message) < new.size else None

    def decode(self, page: int, message: bytes, memory: Bytes) -> None:
        memory[page] ^= _page_of(self._compressor, message, memory.shape[1])


def digest_of(page: Bytes) -> bytes:
    """Return what stands for the content of a page: 128 bits of BLAKE2b."""
    return hashlib.blake2b(page.tobytes(), digest_size=16).digest()


class _Equal:
    """The number of a page with the same bytes that the destination has, or one repeated byte."""

    def __init__(self) -> None:
        self._holders: dict[bytes, dict[int, None]] = {}
        self._contents: dict[int, bytes] = {}

    def encode(self, page: int, old: Bytes | None, new: Bytes) -> bytes | None:
        if (new == new[0]).all():
            self.forget(page)
            return new[:1].tobytes()
        content = digest_of(new)
        holders = self._holders.get(content)
        source = next(iter(holders)) if holders else None
        self._note(page, content)
        return None if source is None else source.to_bytes(REFERENCE_BYTES, "little")

    def forget(self, page: int) -> None:
        """Take note that something else was sent for ``page``."""
        old = self._contents.pop(page, None)
        if old is not None:
            del self._holders[old][page]

    def _note(self, page: int, content: bytes) -> None:
        self.forget(page)
        self._contents[page] = content
        self._holders.setdefault(content, {})[page] = None

    def decode(self, page: int, message: bytes, memory: Bytes) -> None:
        if len(message) == 1:
            memory[page] = message[0]
            return
        source = int.from_bytes(message, "little")
        if len(message) != REFERENCE_BYTES or source >= memory.shape[0]:
            raise Damaged("dedup: the message names no page")
        memory[page] = memory[source]


class _Uniform(_Forgetful):
    """Pages of one repeated byte."""

    def encode(self, page: int, old: Bytes | None, new: Bytes) -> bytes | None:
        return new[:1].tobytes() if (new == new[0]).all() else None

    def decode(self, page: int, message: bytes, memory: Bytes) -> None:
        if len(message) != 1:
            raise Damaged("uniform: the message is not one byte")
        memory[page] = message[0]


def make_encoder(codec: Codec) -> Encoder:
    """Return what encodes and decodes pages one by one; packets are made of compressors."""
    if codec.encoder is not None:
        return codec.encoder()
    if codec.name == "xbzrle":
        return _Xbzrle()
    if codec.name.startswith("delta-zstd"):
        return _Xor(_Zstd(1))
    if codec.name == "dedup":
        return _Equal()
    if codec.name == "uniform":
        return _Uniform()
    return _Whole(compressor_of(codec))
