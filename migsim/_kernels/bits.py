"""Bitmaps as arrays of 64-bit words: page p is bit p % 64 of word p // 64."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Words

__all__ = [
    "ALL",
    "bit_of",
    "count_ones",
    "highest_bit",
    "lowest_bit",
    "next_page",
]

_ONE = np.uint64(1)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
"""The word in which all bits are set."""


@jit
def bit_of(page: int) -> np.uint64:
    """Return the word in which only the bit of ``page`` is set."""
    return _ONE << np.uint64(page & 63)


@jit
def count_ones(word: np.uint64) -> int:
    """Return how many bits of a word are set."""
    # The classic parallel count; LLVM turns it into one popcnt instruction.
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int(np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56)))


@jit
def lowest_bit(word: np.uint64) -> int:
    """Return the place of the lowest bit that is set, of a word that is not 0."""
    lowest = word & (~word + _ONE)
    return count_ones(lowest - _ONE)


@jit
def highest_bit(word: np.uint64) -> int:
    """Return the place of the highest bit that is set, of a word that is not 0."""
    # Smear it downwards; the count of ones is then its place plus one.
    for shift in (1, 2, 4, 8, 16, 32):
        word |= word >> np.uint64(shift)
    return count_ones(word) - 1


@jit
def next_page(words: Words, start: int) -> int:
    """Return the first page at or after ``start`` whose bit is set, or -1."""
    index = start >> 6
    if index >= words.size:
        return -1
    word = words[index] & (ALL << np.uint64(start & 63))
    while word == 0:
        index += 1
        if index >= words.size:
            return -1
        word = words[index]
    return (index << 6) + lowest_bit(word)
