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
    "BLENDS",
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
    "draw_places",
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
BLEND = 16  # and beyond: lines of 64 random bytes, of hexadecimal digits and of zeros, as `BLENDS`

_LINES = 64  # of a page
_STEPS = (0, 1, 2, 4, 8, 16, 28, 40, 52, 64)
BLENDS = tuple(sorted({(r, h) for r in _STEPS for h in (*_STEPS, _LINES - r) if r + h <= _LINES}))
"""How many lines of random bytes and of digits the classes from `BLEND` on have."""

CLASS_MASK = 0x7F
WRITTEN = 0x80  # flag beside the class: the page is not as it began

FORCED = 1 << 30
"""Flag of a change: each of its bytes gets another value, as a recording has counted them."""

_RANDOM_LINES = np.array([r for r, _ in BLENDS], np.int64)
_DIGIT_LINES = np.array([h for _, h in BLENDS], np.int64)
_LETTERS = np.frombuffer(
    b"eeeeeeeetttttaaaaoooonnniiisssrrhhlld_dcumfpgwybvk.,=(){}:0\n    ", np.uint8
)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_TEXT_KEY, _CODE_KEY = np.uint64(0x7E87), np.uint64(0xC0DE)
_EIGHT = np.uint64(8)
_ASIDE = 1 << 62  # counters from here on are for what is neither a page nor a word


@jit
def group_of(seed: np.uint64, page: int, first: int, share: float, groups: int) -> int:
    """Return the group of equal pages that ``page`` belongs to at first, or -1.

    ``share`` of the pages from ``first`` on belong to one of ``groups`` groups.
    """
    if groups == 0 or page < first or random_unit(seed, page) >= share:
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
def _line_order(key: np.uint64) -> tuple[int, int]:
    """Return the odd factor and the offset by which a page's lines are put into an order."""
    bits = random_bits(~key, 0)
    return int(np.int64(bits & np.uint64(_LINES - 1))) | 1, int(np.int64(bits >> np.uint64(58)))


@jit
def _line_at(rank: int, factor: int, offset: int) -> int:
    """Return the line that has a rank in the order of `_line_order`."""
    inverse = factor  # modulo 64, by Newton's iteration
    for _ in range(3):
        inverse = inverse * (2 - factor * inverse) & (_LINES - 1)
    return (rank - offset) * inverse & (_LINES - 1)


@jit
def _blend_word(blend: int, key: np.uint64, line: int, bits: np.uint64) -> np.uint64:
    """Return a word of a line that holds random bytes, digits or zeros."""
    factor, offset = _line_order(key)
    rank = (line * factor + offset) & (_LINES - 1)
    if rank < _RANDOM_LINES[blend]:
        return bits
    if rank >= _RANDOM_LINES[blend] + _DIGIT_LINES[blend]:
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
        return _blend_word(kind - BLEND, key, place >> 3, bits)
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
    seed: np.uint64,
    first: int,
    share: float,
    groups: int,
    upper: Floats,
    kinds: Bytes,
    classes: Bytes,
) -> None:
    """Give each page, or group, a class: ``kinds[k]`` where its draw is below ``upper[k]``."""
    for page in range(classes.size):
        group = group_of(seed, page, first, share, groups)
        draw = random_unit(_key(seed, page, group), _ASIDE)
        k = 0
        while draw >= upper[k]:
            k += 1
        classes[page] = kinds[k]


@jit
def draw_places(seed: np.uint64, pages: Integers, draws: Words) -> None:
    """Draw a number for each of ``pages``; their order is that in which an image lies there."""
    for i in range(pages.size):
        draws[i] = random_bits(seed, pages[i])


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
    at one of ``spots`` places of the page (anywhere for 0). At least one byte changes. Of a blend
    the lines that hold something change as long as there is room: pages go on to compress as well.
    """
    size = room = data.size
    count = min(change & 0xFFFF, size)
    runs = (change >> 16) & 0x3FFF
    forced = change & FORCED != 0
    key = _key(seed, page, -1)
    factor, offset = 1, 0
    if kind >= BLEND:
        held = _LINES * (_RANDOM_LINES[kind - BLEND] + _DIGIT_LINES[kind - BLEND])
        if held >= count:
            room = held
            factor, offset = _line_order(key)
    turn = int(np.int64(random_bits(key, _ASIDE + access) >> np.uint64(20)))
    begin = turn % room
    if spots > 0:
        begin = (turn % spots) * room // spots
    if count % (8 * runs) == 0:
        begin &= ~7
    filler = np.uint8(turn & 255)
    at = begin
    changed = False
    known = -1
    word = np.uint64(0)
    for run in range(runs):
        start = begin + run * room // runs
        length = count // runs + (1 if run < count % runs else 0)
        for step in range(length):
            at = (start + step) % room
            if room < size:
                at = _line_at(at >> 6, factor, offset) << 6 | at & 63
            if at >> 3 != known:
                known = at >> 3
                word = _word(kind, key, known, access + 1)
            byte = np.uint8((word >> np.uint64((at & 7) << 3)) & np.uint64(255))
            if forced and word == 0:  # where nothing was, one byte all over compresses as well
                byte = filler
            if forced and byte == data[at]:
                byte ^= np.uint8(1)
            changed = changed or byte != data[at]
            data[at] = byte
    if not changed:
        data[at] ^= np.uint8(1)
