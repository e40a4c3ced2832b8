"""Codecs on bytes: exact in both directions, and never more than a clear error on damage."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from migsim.calibration import sample_pages
from migsim.codecs import CODECS, Codec, Damaged, make_codec
from migsim.content import CLASSES, PAGE_BYTES
from migsim.encoders import compressor_of, make_encoder

NAMES = [
    "uniform", "lz4", "zlib", "zlib(level=9)", "zstd", "zstd(level=3)", "zstd(dictionary=true)",
    "adaptive", "xbzrle", "delta", "delta(compressor=zstd)", "dedup",
]  # fmt: skip
codecs = st.sampled_from([make_codec(name) for name in NAMES])


@st.composite
def pages(draw: st.DrawFn) -> np.ndarray:
    """A page of a class, or of arbitrary bytes repeated."""
    if draw(st.booleans()):
        kind = draw(st.sampled_from(sorted(CLASSES.values())))
        return sample_pages(kind, 4)[draw(st.integers(0, 3))].copy()
    seed = draw(st.binary(min_size=1, max_size=200))
    return np.frombuffer((seed * PAGE_BYTES)[:PAGE_BYTES], np.uint8).copy()


def encoded(codec: Codec, old: np.ndarray, new: np.ndarray, memory: np.ndarray) -> bytes | None:
    encoder = make_encoder(codec)
    if codec.method == "dedup":  # of which the destination has one already
        encoder.encode(1, None, new)
        memory[1] = new
    return encoder.encode(0, old if codec.method == "delta" else None, new)


@given(codecs, pages(), pages())
def test_the_destination_has_what_the_source_had(
    codec: Codec, old: np.ndarray, new: np.ndarray
) -> None:
    memory = np.stack([old, old])
    message = encoded(codec, old, new, memory)
    if message is None:
        return
    if message:
        make_encoder(codec).decode(0, message, memory)
    assert (memory[0] == new).all()


@given(codecs, pages(), pages(), st.data())
def test_damaged_messages_give_an_error_or_a_page_and_nothing_beside(
    codec: Codec, old: np.ndarray, new: np.ndarray, data: st.DataObject
) -> None:
    memory = np.stack([old, old])
    message = encoded(codec, old, new, memory)
    if not message:
        return
    damaged = bytearray(message)
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=4)
    ):
        if damaged:
            damaged[place % len(damaged)] = value
    other = memory[1].copy()
    try:
        make_encoder(codec).decode(0, bytes(damaged), memory)
    except Damaged as error:
        assert str(error)
    assert memory.shape == (2, PAGE_BYTES)
    assert (memory[1] == other).all()


@given(codecs, st.binary(max_size=300))
def test_any_bytes_at_all_may_come(codec: Codec, message: bytes) -> None:
    memory = np.zeros((2, PAGE_BYTES), np.uint8)
    try:
        make_encoder(codec).decode(0, message, memory)
    except Damaged as error:
        assert str(error)
    assert not memory[1].any()


def test_a_message_for_another_length_is_refused() -> None:
    for name in ("lz4", "zlib", "zstd"):
        compressor = compressor_of(make_codec(name))
        for size in (100, 10 * PAGE_BYTES):
            message = compressor.compress(bytes(size))
            with pytest.raises(Damaged):
                make_encoder(make_codec(name)).decode(
                    0, message, np.zeros((1, PAGE_BYTES), np.uint8)
                )


@pytest.mark.parametrize("name", ["lz4", "zlib", "zstd", "zstd(dictionary=true)"])
def test_a_bomb_is_refused_before_it_fills_the_memory(name: str) -> None:
    """64 MiB in some hundred bytes or kilobytes: no more than a page of it is unpacked."""
    compressor = compressor_of(make_codec(name))
    message = compressor.compress(bytes(64 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(Damaged):
            compressor.decompress(message, PAGE_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(message) + 2**20
    finally:
        tracemalloc.stop()


def test_frames_of_another_kind_are_refused() -> None:
    """Zstandard: another dictionary, no length, two frames, what may be skipped."""
    page = sample_pages(CLASSES["text"], 1)[0].tobytes()
    plain = compressor_of(make_codec("zstd"))
    frame, skippable = plain.compress(page), bytes.fromhex("502a4d1804000000") + b"skip"
    for message in (
        compressor_of(make_codec("zstd(dictionary=true)")).compress(page),
        zstandard.ZstdCompressor(write_content_size=False).compress(page),
        frame + frame,
        frame + skippable,
        skippable + frame,
        skippable,
        b"",
    ):
        with pytest.raises(Damaged):
            plain.decompress(message, PAGE_BYTES)
    assert plain.decompress(frame, PAGE_BYTES) == page


@given(
    st.sampled_from(["zlib(packet=128)", "zstd(packet=128)"]),
    st.lists(pages(), min_size=1, max_size=5),
    st.data(),
)
def test_packets_come_back_or_are_refused(
    name: str, content: list[np.ndarray], data: st.DataObject
) -> None:
    compressor = compressor_of(make_codec(name))
    packet = b"".join(page.tobytes() for page in content)
    message = bytearray(compressor.compress(packet))
    assert compressor.decompress(bytes(message), len(packet)) == packet
    if data.draw(st.booleans()):
        del message[data.draw(st.integers(0, len(message) - 1)) :]
    else:
        message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert len(compressor.decompress(bytes(message), len(packet))) == len(packet)
    except Damaged as error:
        assert str(error)


def test_every_codec_is_tried_here() -> None:
    assert {name.partition("(")[0] for name in NAMES} == set(CODECS) - {"raw", "scaled"}


def test_equal_pages_are_forgotten_when_something_else_is_sent() -> None:
    encoder = make_encoder(make_codec("dedup"))
    page = sample_pages(CLASSES["text"], 1)[0]
    assert encoder.encode(7, None, page) is None
    assert encoder.encode(8, None, page) == (7).to_bytes(8, "little")
    encoder.forget(7)
    assert encoder.encode(9, None, page) == (8).to_bytes(8, "little")


def test_adaptive_takes_the_fast_compressor_for_similar_words() -> None:
    """MECOM: records resemble one another, random bytes do not."""
    encoder = make_encoder(make_codec("adaptive"))
    first = {
        name: (encoder.encode(0, None, sample_pages(CLASSES[name], 1)[0]) or b"\xff")[0]
        for name in ("heap", "text", "encrypted")
    }
    assert first == {"heap": 0, "text": 1, "encrypted": 0xFF}
