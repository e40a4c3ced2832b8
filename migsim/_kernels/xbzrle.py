"""XBZRLE: a page as the bytes that differ from its older version.

An encoded page is a sequence of runs: how many bytes are the same (ULEB128), how many differ
(ULEB128), and those. What is the same at the end is left out. A run of the same bytes is skipped
a word of eight at a time, so that pages with few changes are encoded at memory speed. Format as in
QEMU's docs/xbzrle.txt (Svärd et al., VEE 2011, describe the idea).
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Bytes, Integers, Words

__all__ = ["MALFORMED", "OVERFLOW", "decode_page", "encode_page", "encode_pages"]

OVERFLOW = -1
"""The encoded page would be longer than the room for it."""

MALFORMED = -2
"""What is to be decoded is no encoded page."""

_BLOCK = 16  # words that are compared together
_LENGTH_BYTES = 2  # of a run of up to 16,383 bytes


@jit
def _same_from(start: int, old: Bytes, new: Bytes, old_words: Words, new_words: Words) -> int:
    """Return the first byte from ``start`` on that differs, or the page's size."""
    size = new.size
    i = start
    while i < size and i & 7 != 0:
        if old[i] != new[i]:
            return i
        i += 1
    word = i >> 3
    while word + _BLOCK <= new_words.size:  # without a branch for each word: LLVM vectorises it
        before, after = old_words[word : word + _BLOCK], new_words[word : word + _BLOCK]
        difference = np.uint64(0)
        for k in range(_BLOCK):
            difference |= before[k] ^ after[k]
        if difference != 0:
            break
        word += _BLOCK
    while word < new_words.size and old_words[word] == new_words[word]:
        word += 1
    i = max(i, word << 3)
    while i < size and old[i] == new[i]:
        i += 1
    return i


@jit
def _differing_from(start: int, old: Bytes, new: Bytes) -> int:
    """Return the first byte from ``start`` on that is the same, or the page's size."""
    i = start
    while i < new.size and old[i] != new[i]:
        i += 1
    return i


@jit
def _put_length(out: Bytes, at: int, length: int) -> int:
    """Write a length of at most 16,383 and return where the next byte goes."""
    if length < 0x80:
        out[at] = length
        return at + 1
    out[at] = (length & 0x7F) | 0x80
    out[at + 1] = length >> 7
    return at + 2


@jit
def encode_page(old: Bytes, new: Bytes, old_words: Words, new_words: Words, out: Bytes) -> int:
    """Encode ``new`` against ``old`` into ``out``; return the encoded size or `OVERFLOW`.

    uint8 arrays of shape (page size,), at most 16,383 bytes, with their uint64 views. 0 for two
    equal pages. A length needs two bytes of room, though it may take one (as in QEMU).
    """
    size = new.size
    at = i = 0
    while i < size:
        changed = _same_from(i, old, new, old_words, new_words)
        if changed == size:
            break
        if at + _LENGTH_BYTES > out.size:
            return OVERFLOW
        at = _put_length(out, at, changed - i)
        i = _differing_from(changed, old, new)
        if at + _LENGTH_BYTES > out.size:
            return OVERFLOW
        at = _put_length(out, at, i - changed)
        if at + i - changed > out.size:
            return OVERFLOW
        for k in range(changed, i):
            out[at] = new[k]
            at += 1
    return at


@jit
def encode_pages(old: Bytes, new: Bytes, out: Bytes, sizes: Integers) -> None:
    """Encode the rows of ``new`` against those of ``old``, each into ``out``; keep the sizes."""
    for page in range(new.shape[0]):
        before, after = old[page], new[page]
        words = before.view(np.uint64), after.view(np.uint64)
        sizes[page] = encode_page(before, after, words[0], words[1], out)


@jit
def decode_page(encoded: Bytes, page: Bytes) -> int:
    """Change ``page`` from the old version to the new one; return 0 or `MALFORMED`.

    A malformed message may have changed a part of the page.
    """
    i = at = 0
    is_change = False
    while at < encoded.size:
        length = int(encoded[at])
        at += 1
        if length >= 0x80:
            if at == encoded.size or encoded[at] >= 0x80:
                return MALFORMED
            length = (length & 0x7F) | (int(encoded[at]) << 7)
            at += 1
        if i + length > page.size or (length == 0 and (is_change or i > 0)):
            return MALFORMED
        if is_change:
            if at + length > encoded.size:
                return MALFORMED
            for k in range(length):
                page[i + k] = encoded[at + k]
            at += length
        i += length
        is_change = not is_change
    return MALFORMED if is_change else 0
