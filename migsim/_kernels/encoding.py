"""What a page costs on the wire where sizes stand for bytes: one page at a time, from tables.

The sizes were measured by running the real codecs on real bytes (`migsim.codec_sizes`). How much
of a page was written since it was last sent is kept as bytes and runs of bytes; where writes meet
by chance, as many bytes are counted once as random places would have in common.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import bit_of
from migsim._kernels.content import (
    CLASS_MASK,
    HEAP,
    UNIFORM,
    WRITTEN,
    fill_page,
    group_of,
    write_page,
)
from migsim._kernels.draws import portable_exp, portable_log, random_bits
from migsim._types import Bytes, Floats, Ints32, Record, Shorts, Words

__all__ = [
    "CODER_STATE",
    "DEDUP",
    "DELTA",
    "FILLED",
    "FILLED_UNIFORM",
    "FRAME_BYTES",
    "MEMORY_STATE",
    "PACKET_HEADER",
    "RATIO",
    "RAW",
    "REFERENCE_BYTES",
    "SAME",
    "WHOLE",
    "Coder",
    "Memory",
    "cache_page",
    "change_bytes",
    "copy_page",
    "encoded_size",
    "find_cached",
    "flushed_size",
    "forget_pages",
    "note_change",
]

RAW = 0  # pages as they are
RATIO = 1  # a given share of a page
WHOLE = 2  # each page compressed by itself, or with others of its packet
DELTA = 3  # against the version in a cache
DEDUP = 4  # a reference to an equal page

SAME = -1
"""The destination has the page already: nothing is sent."""

FILLED, FILLED_UNIFORM = 0, 0xFFFF
"""In place of a number of runs: the page was zeros, or another repeated byte, and was filled."""

FRAME_BYTES = 3  # before an encoded page: how it is encoded, and its length
PACKET_HEADER = 320  # of QEMU's multifd packets, beside 8 bytes for each page
REFERENCE_BYTES = 8  # the number of an equal page

MEMORY_STATE = np.dtype(
    [
        ("seed", "u8"),
        ("spots", "i8"),  # places at which the runs of a write may begin; 0: anywhere
        ("page_bytes", "i8"),
        ("first_duplicate", "i8"),  # pages before it are equal to no other
        ("duplicate_share", "f8"),
        ("duplicate_groups", "i8"),
    ]
)


class Memory(NamedTuple):
    """What is known of the content of a guest's pages; arrays of length 0 where nothing is.

    ``classes`` (uint8) are classes with flags; ``written`` and ``runs`` (uint16) the bytes written
    since the page was last sent, and in how many runs. ``here`` and ``there`` (uint8, pages by
    page size) are the memories of source and destination, ``truth`` is what the guest at the
    destination should see; empty where sizes stand for bytes.
    """

    state: Record
    classes: Bytes
    written: Shorts
    runs: Shorts
    here: Bytes
    there: Bytes
    truth: Bytes


CODER_STATE = np.dtype(
    [
        ("method", "i8"),
        ("reads_content", "i8"),  # sizes depend on what is in pages
        ("ratio", "f8"),
        ("skips_uniform", "i8"),  # pages of one repeated byte cost a byte and a frame
        ("threads", "f8"),
        ("zero_seconds", "f8"),  # CPU time for a page of zeros
        ("seconds_per_byte", "f8"),  # CPU time for each encoded byte, beside the page's,
        ("seconds_per_run", "f8"),  # and for each run of bytes that were written
        ("frame_bytes", "i8"),  # before an encoded page
        ("packet", "i8"),  # pages that leave together
        ("packet_header", "i8"),  # bytes before them
        ("waiting", "i8"),  # pages of the packet so far,
        ("waiting_bytes", "i8"),  # and what they come to
        ("cache_mask", "i8"),  # slots of the cache less one
        ("keeps_recent", "i8"),  # an entry is replaced only two readings of the log after its use
        ("updates", "i8"),  # the cache takes in what is sent
        ("sync", "i8"),  # readings of the dirty log so far
        ("group_words", "i8"),  # of the bitmap of groups; that of pages follows
        ("delta_steps", "i8"),  # of the table of deltas, for each doubling
        # what was done
        ("page_seconds", "f8"),  # CPU time of the last page
        ("cpu_seconds", "f8"),
        ("encoded", "i8"),
        ("unchanged", "i8"),
        ("misses", "i8"),
        ("overflows", "i8"),
    ]
)


class Coder(NamedTuple):
    """A codec at work.

    ``sizes`` (uint16, classes by quantiles) are sizes of whole pages, ``deltas`` (float64, classes
    by log2 of written bytes by log2 of runs) logarithms of those of deltas, ``filled`` (float64,
    classes by two) sizes of deltas to a page of zeros and of another byte, ``seconds`` (float64)
    the CPU time of a page of each class. ``cached`` and ``ages`` (int32) are the page in each slot
    of the cache, or -1, and when it was last used. ``groups`` is a bitmap of the groups of equal
    pages of which the destination has one, and of the pages that this codec was the last to send.
    ``image`` (int32) is the page of the guest's image that a page holds in the beginning, or -1,
    ``held`` a bitmap of those that the destination has; empty where the guest has no image.
    """

    state: Record
    sizes: Shorts
    deltas: Floats
    filled: Floats
    seconds: Floats
    cached: Ints32
    ages: Ints32
    groups: Words
    image: Ints32
    held: Words


@jit
def copy_page(memory: Memory, page: int) -> None:
    """Let the destination have the bytes of a page that the source has."""
    here, there = memory.here[page], memory.there[page]
    for i in range(here.size):
        there[i] = here[i]


@jit
def note_change(memory: Memory, page: int, change: int, blank: bool) -> None:
    """Count what a write changes; ``blank`` where the page was one repeated byte until now."""
    size = memory.state[0].page_bytes
    kind = memory.classes[page]
    filled = FILLED
    if kind & CLASS_MASK == UNIFORM:
        blank, filled = True, FILLED_UNIFORM
        kind = np.uint8(HEAP)
    memory.classes[page] = kind | np.uint8(WRITTEN)
    if blank:
        memory.written[page] = size
        memory.runs[page] = filled
        return
    count = float(change & 0xFFFF)
    runs = float((change >> 16) & 0x3FFF)
    spots = memory.state[0].spots
    if memory.written[page] == size and memory.runs[page] in (FILLED, FILLED_UNIFORM):
        return
    known = float(memory.written[page])
    known_runs = float(memory.runs[page])
    reach = float(size) if spots == 0 else min(float(size), spots * count)
    fresh = max(0.0, 1.0 - known / reach)
    covered = count / size if spots == 0 else 0.0
    memory.written[page] = min(size, int(known + count * fresh + 0.5))
    memory.runs[page] = max(1, int(known_runs * (1.0 - covered) + runs * fresh + 0.5))


@jit
def change_bytes(
    memory: Memory, data: Bytes, page: int, access: int, change: int, blank: bool
) -> None:
    """Change the bytes of a page as the write ``access`` does; a blank page is filled first."""
    m = memory.state[0]
    kind = int(np.int64(memory.classes[page] & np.uint8(CLASS_MASK)))
    if kind == UNIFORM:
        kind, blank = HEAP, True
    if blank:
        fill_page(m.seed, kind, page, -1, data.view(np.uint64))
    write_page(m.seed, kind, page, access, change, m.spots, data)


@jit
def find_cached(coder: Coder, page: int) -> bool:
    """Tell whether the cache holds a version of ``page``, and mark it as used."""
    c = coder.state[0]
    slot = page & c.cache_mask
    if coder.cached[slot] != page:
        return False
    coder.ages[slot] = c.sync
    return True


@jit
def cache_page(coder: Coder, page: int) -> bool:
    """Let the cache take in a page that it does not hold; return whether it did.

    The place of another page is taken only if that was last used two readings of the log ago.
    """
    c = coder.state[0]
    slot = page & c.cache_mask
    if not c.updates:
        return False
    if c.keeps_recent and coder.cached[slot] >= 0 and coder.ages[slot] + 2 > c.sync:
        return False
    coder.cached[slot] = page
    coder.ages[slot] = c.sync
    return True


@jit
def forget_pages(coder: Coder, pages: Words) -> None:
    """Drop from the cache the pages of a bitmap, which something else has sent."""
    for slot in range(coder.cached.size):
        page = coder.cached[slot]
        if page >= 0 and pages[page >> 6] & bit_of(page) != 0:
            coder.cached[slot] = -1


@jit
def _delta_size(coder: Coder, kind: int, written: int, runs: int) -> float:
    """Return the mean size of a delta, between the measured numbers of bytes and of runs.

    The table holds logarithms: a size grows nearly as a power of the bytes written.
    """
    if runs in (FILLED, FILLED_UNIFORM):
        return coder.filled[kind, int(runs == FILLED_UNIFORM)]
    table = coder.deltas[kind]
    steps = coder.state[0].delta_steps * 1.4426950408889634
    x = min(portable_log(float(written)) * steps, table.shape[0] - 1.0)
    y = min(portable_log(float(min(runs, written))) * steps, table.shape[1] - 1.0)
    i, k = min(int(x), table.shape[0] - 2), min(int(y), table.shape[1] - 2)
    a, b = x - i, y - k
    low = table[i, k] * (1.0 - b) + table[i, k + 1] * b
    high = table[i + 1, k] * (1.0 - b) + table[i + 1, k + 1] * b
    return portable_exp(low * (1.0 - a) + high * a)


@jit
def flushed_size(memory: Memory, coder: Coder) -> int:
    """Return what the packet so far comes to, and begin another; 0 where no page waits."""
    c = coder.state[0]
    if c.waiting_bytes < c.waiting * memory.state[0].page_bytes:
        c.encoded += c.waiting
    content = c.waiting_bytes + c.packet_header if c.waiting > 0 else 0
    c.waiting = 0
    c.waiting_bytes = 0
    return content


@jit
def encoded_size(memory: Memory, coder: Coder, page: int) -> int:
    """Return the bytes that a page of some content comes to, or `SAME`; count what it costs.

    Those of a packet leave with its last page.
    """
    c = coder.state[0]
    size = memory.state[0].page_bytes
    kind = 0
    if c.reads_content:
        kind = int(np.int64(memory.classes[page] & np.uint8(CLASS_MASK)))
    seconds = coder.seconds[kind]
    content = size
    if c.skips_uniform and kind == UNIFORM:
        content = c.frame_bytes + 1
    elif c.method == RATIO:
        content = round(size * c.ratio)
    elif c.method == WHOLE:
        draw = random_bits(memory.state[0].seed ^ np.uint64(0x512E), page) >> np.uint64(61)
        content = c.frame_bytes + coder.sizes[kind, np.int64(draw)]
    elif c.method == DEDUP:
        own = (page >> 6) + c.group_words
        if coder.groups[own] & bit_of(page) != 0 and memory.written[page] == 0:
            content = c.frame_bytes + REFERENCE_BYTES  # to itself
        coder.groups[own] |= bit_of(page)
        group, common = -1, -1
        written = memory.classes[page] & np.uint8(WRITTEN) != 0
        if not written and coder.image.size > 0:
            common = int(np.int64(coder.image[page]))
        if common >= 0:
            if coder.held[common >> 6] & bit_of(common) != 0:
                content = c.frame_bytes + REFERENCE_BYTES
            coder.held[common >> 6] |= bit_of(common)
        elif not written:
            m = memory.state[0]
            group = group_of(m.seed, page, m.first_duplicate, m.duplicate_share, m.duplicate_groups)
        if group >= 0:
            word = group >> 6
            if coder.groups[word] & bit_of(group) != 0:
                content = c.frame_bytes + REFERENCE_BYTES
            coder.groups[word] |= bit_of(group)
    elif find_cached(coder, page):
        if memory.written[page] == 0:
            content = SAME
        else:
            delta = _delta_size(coder, kind, int(memory.written[page]), int(memory.runs[page]))
            content = c.frame_bytes + int(delta + 0.5)
            # A page that was filled differs as one run, as far as the encoder goes.
            runs = int(memory.runs[page])
            runs = 1 if runs in (FILLED, FILLED_UNIFORM) else runs
            seconds += c.seconds_per_byte * delta + c.seconds_per_run * runs
            c.overflows += content >= size
    else:
        c.misses += 1
        cache_page(coder, page)
        seconds = c.zero_seconds  # a copy into the cache, at the speed of memory
    if content >= size:
        content = size
    elif content != SAME and c.packet == 1:
        c.encoded += 1
    c.unchanged += content == SAME
    c.page_seconds = seconds / c.threads
    c.cpu_seconds += seconds
    if c.packet == 1:
        return content
    c.waiting += 1
    c.waiting_bytes += content
    return flushed_size(memory, coder) if c.waiting == c.packet else 0
