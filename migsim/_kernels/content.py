"""What is in a page: words of eight bytes, each a function of the page, its place and a version.

A page of a class is made of independent words drawn from the class's own source, so a write that
draws some of them anew leaves the page one of its class: it compresses as well as before, however
often it is written. The sources are tuned so that lz4, zlib and zstd make of a page what they make
of real ones (`migsim validate content`).
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.draws import random_bits, random_unit
from migsim._types import Bytes, Floats, Integers, Words

__all__ = [
    "BLEND",
    "BLEND_STEPS",
    "CLASS_MASK",
    "CODE",
    "COMPRESSED",
    "ENCRYPTED",
    "FORCED",
    "HEAP",
    "TEXT",
    "UNIFORM",
    "WRITTEN",
    "draw_classes",
    "fill_page",
    "group_of",
    "is_zero",
    "silence",
    "write_page",
]

ENCRYPTED = 0
COMPRESSED = 1
TEXT = 2
CODE = 3
HEAP = 4
UNIFORM = 5  # one byte, repeated; a write makes it a heap page
BLEND = 16  # + 9 * r + h: lines of random bytes (r / 8), of hexadecimal digits (h / 8), of zeros
BLEND_STEPS = 8

CLASS_MASK = 0x7F
WRITTEN = 0x80  # flag beside the class: the page is not as it began

FORCED = 1 << 30
"""Flag of a change: each of its bytes gets another value, as a recording has counted them."""

_LETTERS = np.frombuffer(
    b"eeeeeeeetttttaaaaoooonnniiisssrrhhlld_dcumfpgwybvk.,=(){}:0\n    ", np.uint8
)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_TEXT_KEY, _CODE_KEY = np.uint64(0x7E87), np.uint64(0xC0DE)
_EIGHT = np.uint64(8)
_ASIDE = 1 << 62  # counters from here on are for what is neither a page nor a word


@jit
def group_of(seed: np.uint64, page: int, share: float, groups: int) -> int:
    """Return the group of equal pages that ``page`` belongs to at first, or -1.

    ``share`` of all pages belong to one of ``groups`` groups.
    """
    if groups == 0 or random_unit(seed, page) >= share:
        return -1
    return int(np.int64(random_bits(~seed, page) % np.uint64(groups)))


@jit
def _key(seed: np.uint64, page: int, group: int) -> np.uint64:
    """Return the key under which the first words of a page are drawn; its group's if it has one."""
    return random_bits(seed, page if group < 0 else _ASIDE + group)


@jit
def _spelled(bits: np.uint64) -> np.uint64:
    """Return eight letters, as frequent as in text, from 48 random bits."""
    word = np.uint64(0)
    for _ in range(8):
        word = (word << _EIGHT) | np.uint64(_LETTERS[np.int64(bits & np.uint64(63))])
        bits >>= np.uint64(6)
    return word


@jit
def _text_word(bits: np.uint64) -> np.uint64:
    """Return a common piece of text, or one that occurs nowhere else."""
    if np.int64(bits & np.uint64(15)) < 1:
        return _spelled(bits >> np.uint64(16))
    share = np.float64((bits >> np.uint64(4)) & np.uint64(0xFFFFF)) / 1048576.0
    return _spelled(
        random_bits(_TEXT_KEY, int(400.0 * share * share * share * share * share * share))
    )


@jit
def _code_word(bits: np.uint64) -> np.uint64:
    """Return two instructions: a common pair, often with an address or number of its own."""
    share = np.float64((bits >> np.uint64(8)) & np.uint64(0xFFFFF)) / 1048576.0
    word = random_bits(_CODE_KEY, int(400.0 * share * share * share * share))
    choice = np.int64(bits & np.uint64(15))
    own = bits >> np.uint64(28)
    if choice < 9:
        return word
    if choice < 13:
        return (word & ~np.uint64(0xFFFF)) | (own & np.uint64(0xFFFF))
    return (word & np.uint64(0xFFFFFFFF0000FFFF)) | (own & np.uint64(0x000000000F0F0000))


@jit
def _heap_word(bits: np.uint64) -> np.uint64:
    """Return what records hold: nothing, small numbers, pointers to near by, pieces of text."""
    choice = np.int64(bits & np.uint64(31))
    own = bits >> np.uint64(8)
    if choice < 17:
        return np.uint64(0)
    if choice < 23:
        return own & np.uint64(0xF)
    if choice < 28:
        return np.uint64(0x00007F3A00000000) | ((own & np.uint64(0xFFFF)) << np.uint64(4))
    if choice < 30:
        return _text_word(own)
    return own & np.uint64(0xFFFF)


@jit
def _blend_word(blend: int, line: np.uint64, bits: np.uint64) -> np.uint64:
    """Return a word of a line that holds random bytes, digits or zeros."""
    kind = np.int64(line & np.uint64(7))
    random, digits = blend // (BLEND_STEPS + 1), blend % (BLEND_STEPS + 1)
    if kind < random:
        return bits
    if kind >= random + digits:
        return np.uint64(0)
    word = np.uint64(0)
    for _ in range(8):
        word = (word << _EIGHT) | np.uint64(_DIGITS[np.int64(bits & np.uint64(15))])
        bits >>= np.uint64(4)
    return word


@jit
def _word(kind: int, key: np.uint64, place: int, version: int) -> np.uint64:
    """Return the word at ``place`` (0 to 511) of a page as ``version`` has written it."""
    bits = random_bits(key, (version << 9) | place)
    if kind == TEXT:
        return _text_word(bits)
    if kind == CODE:
        return _code_word(bits)
    if kind == HEAP:
        return _heap_word(bits)
    if kind == UNIFORM:
        return (key | np.uint64(1)) % np.uint64(256) * np.uint64(0x0101010101010101)
    if kind >= BLEND and place > 0:  # the first word tells pages of mere zeros apart
        return _blend_word(kind - BLEND, random_bits(~key, place >> 3), bits)
    if kind == COMPRESSED and place & 127 == 0:
        return bits & np.uint64(0xFFFFFFFF)
    return bits


@jit
def fill_page(seed: np.uint64, kind: int, page: int, group: int, words: Words) -> None:
    """Write the content that a page begins with; ``words`` is its uint64 view."""
    key = _key(seed, page, group)
    for place in range(words.size):
        words[place] = _word(kind, key, place, 0)


@jit
def draw_classes(
    seed: np.uint64, share: float, groups: int, upper: Floats, kinds: Bytes, classes: Bytes
) -> None:
    """Give each page a class: ``kinds[k]`` where its draw is below ``upper[k]``."""
    for page in range(classes.size):
        group = group_of(seed, page, share, groups)
        draw = random_unit(_key(seed, page, group), _ASIDE)
        k = 0
        while draw >= upper[k]:
            k += 1
        classes[page] = kinds[k]


@jit
def silence(seed: np.uint64, first: int, silent_fraction: float, changes: Integers) -> None:
    """Let ``silent_fraction`` of the accesses from ``first`` on change nothing."""
    for i in range(changes.size):
        if random_unit(seed ^ np.uint64(0x51), first + i) < silent_fraction:
            changes[i] = 0


@jit
def is_zero(words: Words) -> bool:
    """Tell whether a page holds only zeros."""
    place = 0
    while place < words.size and words[place] == 0:
        place += 1
    return place == words.size


@jit
def write_page(
    seed: np.uint64, kind: int, page: int, access: int, change: int, spots: int, data: Bytes
) -> None:
    """Change a page as the write ``access`` does; ``data`` holds its bytes.

    ``change`` is bytes | runs << 16, perhaps with `FORCED`; its runs lie at even distances, begun
    at one of ``spots`` places of the page (anywhere for 0). At least one byte changes.
    """
    size = data.size
    count = change & 0xFFFF
    runs = (change >> 16) & 0x3FFF
    forced = change & FORCED != 0
    key = _key(seed, page, -1)
    turn = int(np.int64(random_bits(key, _ASIDE + access) >> np.uint64(20)))
    if spots > 0:
        turn = (turn % spots) * size // spots
    begin = (turn % size) & ~7 if count % (8 * runs) == 0 else turn % size
    at = begin
    changed = False
    known = -1
    word = np.uint64(0)
    for run in range(runs):
        start = begin + run * size // runs
        length = count // runs + (1 if run < count % runs else 0)
        for step in range(length):
            at = (start + step) % size
            if at >> 3 != known:
                known = at >> 3
                word = _word(kind, key, known, access + 1)
            byte = np.uint8((word >> np.uint64((at & 7) << 3)) & np.uint64(255))
            if forced and byte == data[at]:
                byte ^= np.uint8(1 + (at & 6))
            changed = changed or byte != data[at]
            data[at] = byte
    if not changed:
        data[at] ^= np.uint8(1 + (at & 6))
