"""XBZRLE on bytes: exact in both directions, the documented example, overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim._kernels.xbzrle import MALFORMED, OVERFLOW, decode_page, encode_page

PAGE = 4096


def page_of(content: bytes) -> np.ndarray:
    return np.frombuffer(content.ljust(PAGE, b"\0"), np.uint8).copy()


def encode(old: np.ndarray, new: np.ndarray, room: int = PAGE) -> bytes | int:
    out = np.zeros(room, np.uint8)
    size = encode_page(old, new, old.view(np.uint64), new.view(np.uint64), out)
    return size if size < 0 else out[:size].tobytes()


def slowly(old: np.ndarray, new: np.ndarray) -> bytes:
    """The same by the description of the format: runs of equal and of differing bytes."""
    differs = (old != new).tolist()
    encoded, i = b"", 0
    while any(differs[i:]):
        changed = i + differs[i:].index(True)
        rest = differs[changed:]
        stop = changed + (rest.index(False) if False in rest else len(rest))
        for length in (changed - i, stop - changed):
            encoded += bytes([length] if length < 128 else [length % 128 + 128, length // 128])
        encoded += new[changed:stop].tobytes()
        i = stop
    return encoded


def test_the_documented_example() -> None:
    """docs/xbzrle.txt of QEMU: 24 bytes for 17 changed ones."""
    head = bytes(1001)
    old = page_of(head + bytes(range(5, 20)) + bytes([0x68, 0, 0, 0x6B, 0, 0x6D]))
    new = page_of(head + bytes(range(1, 16)) + bytes([0x68, 0, 0, 0x67, 0, 0x69]))
    wanted = "e9 07 0f 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 03 01 67 01 01 69"
    assert encode(old, new) == bytes.fromhex(wanted)
    assert len(bytes.fromhex(wanted)) == 24


@st.composite
def versions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two versions of a page that differ in a few runs, or in many bytes."""
    old = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 4, PAGE, np.uint8)
    new = old.copy()
    for start, change in draw(
        st.lists(st.tuples(st.integers(0, PAGE - 1), st.binary(min_size=1, max_size=300)))
    ):
        part = new[start : start + len(change)]
        part[:] = np.frombuffer(change, np.uint8)[: part.size]
    return old, new


@given(versions())
def test_a_round_trip_is_exact(pair: tuple[np.ndarray, np.ndarray]) -> None:
    old, new = pair
    encoded = encode(old, new, 3 * PAGE)
    assert encoded == slowly(old, new)
    page = old.copy()
    assert decode_page(np.frombuffer(encoded, np.uint8), page) == 0
    assert (page == new).all()


@given(versions(), st.integers(0, 200))
def test_overflow_is_told_where_the_room_is_short(
    pair: tuple[np.ndarray, np.ndarray], room: int
) -> None:
    old, new = pair
    wanted, got = slowly(old, new), encode(old, new, room)
    if got == OVERFLOW:
        assert len(wanted) > room - 2  # a length needs room for two bytes
    else:
        assert got == wanted
        assert len(wanted) <= room


def test_equal_pages_take_nothing_and_different_ones_too_much() -> None:
    old = np.zeros(PAGE, np.uint8)
    assert encode(old, old) == b""
    assert encode(old, old + 1) == OVERFLOW
    every_other = old.copy()
    every_other[::2] = 1
    assert encode(old, every_other) == OVERFLOW


@given(st.binary(max_size=60))
def test_whatever_comes_is_decoded_or_refused(message: bytes) -> None:
    page = np.zeros(PAGE, np.uint8)
    assert decode_page(np.frombuffer(message, np.uint8), page) in {0, MALFORMED}


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_cut_message_is_refused_or_ends_after_a_run(cut: int) -> None:
    message = bytes.fromhex("e9070f0102030405060708090a0b0c0d0e0f030167010169")[:cut]
    outcome = decode_page(np.frombuffer(message, np.uint8), np.zeros(PAGE, np.uint8))
    assert outcome == (0 if cut in {18, 21} else MALFORMED)
