"""Pages against their older copies: how many bytes differ, and in how many runs.

Eight bytes at a time: where two words are equal, as nearly all are of most pages, comparing is all
there is to do; where they are not, the bytes that differ are counted within the word. Assumes that
byte 0 is a word's lowest, as on all processors that recordings are made on.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Bools, Bytes, Integers, Words

__all__ = ["compare_pages", "take_pages"]

_LOW = np.uint64(0x7F7F7F7F7F7F7F7F)
_HIGH = np.uint64(0x8080808080808080)
_ONES = np.uint64(0x0101010101010101)
_ONE, _SEVEN, _BYTE, _TOP = np.uint64(1), np.uint64(7), np.uint64(8), np.uint64(56)


@jit
def _marked(marks: np.uint64) -> int:
    """Return how many bytes of a word are marked, each by its highest bit."""
    return int(((marks >> _SEVEN) * _ONES) >> _TOP)


@jit
def _compare(old: Words, new: Words) -> tuple[int, int]:
    """Return how many bytes of a page differ, and in how many runs."""
    changed = runs = 0
    before = np.uint64(0)  # the mark of the byte before the word, moved to below its first
    for i in range(new.size):
        x = old[i] ^ new[i]
        if x == 0:
            before = np.uint64(0)
            continue
        marks = (((x & _LOW) + _LOW) | x) & _HIGH
        changed += _marked(marks)
        runs += _marked(marks & ~((marks << _BYTE) | before))
        before = marks >> _TOP
    return changed, runs


@jit
def compare_pages(old: Words, new: Words, changed: Integers, runs: Integers) -> None:
    """Store for each row how many bytes differ between ``old`` and ``new``, and in how many runs.

    uint64 arrays of shape (pages, words of a page); int64 results of shape (pages,).
    """
    for row in range(new.shape[0]):
        changed[row], runs[row] = _compare(old[row], new[row])


@jit
def take_pages(
    new: Words,
    good: Bools,
    slots: Integers,
    latest: Words,
    present: Bools,
    kept: Words,
    epochs: Integers,
    epoch: int,
    changed: Integers,
    runs: Integers,
    zero: Bytes,
) -> None:
    """Compare pages with their latest copies and make them the latest, in one pass each.

    Row i of ``new`` belongs to row ``slots[i]`` of ``latest``, ``present``, ``kept`` and
    ``epochs``. At a page's first comparison in an epoch its copy goes to ``kept``, which thereby
    holds the page as it was when the epoch began. A page that is not present is compared with
    zeros. One that is not good could not be read: it is not present any more, and its results are
    -1, -1, 0. Copies are zeros, and epochs -1, before a page's first comparison.
    """
    for i in range(slots.size):
        slot = slots[i]
        copy = latest[slot]
        fresh = epochs[slot] < 0
        if epochs[slot] != epoch:
            epochs[slot] = epoch
            if not fresh:  # else both are zeros, and memory is not touched for nothing
                for place in range(copy.size):
                    kept[slot, place] = copy[place]
        if not good[i]:
            present[slot] = False
            changed[i], runs[i], zero[i] = -1, -1, 0
            continue
        if not present[slot]:
            if not fresh:
                copy[:] = np.uint64(0)
            present[slot] = True
        changed[i], runs[i] = _compare(copy, new[i])
        if changed[i]:
            for place in range(copy.size):
                copy[place] = new[i, place]
        place = 0
        while place < copy.size and copy[place] == 0:
            place += 1
        zero[i] = place == copy.size
