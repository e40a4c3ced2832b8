"""Looking ahead in the accesses of a guest, for the clairvoyant bound only."""

from __future__ import annotations

from migsim._jit import jit
from migsim._kernels.bits import bit_of
from migsim._types import Floats, Integers, Words

__all__ = ["list_first_touches", "mark_writes"]


@jit
def mark_writes(pages: Integers, times: Floats, until: float, written: Words) -> bool:
    """Set the bits of pages written before ``until``; return whether that time was reached."""
    for i in range(pages.size):
        if times[i] >= until:
            return True
        if pages[i] >= 0:
            written[pages[i] >> 6] |= bit_of(pages[i])
    return False


@jit
def list_first_touches(
    pages: Integers, times: Floats, until: float, wanted: Words, order: Integers, found: int
) -> int:
    """Append each page of ``wanted`` to ``order`` when it is first read or written.

    Takes it out of ``wanted`` and returns the new number of pages found. Stops at ``until``.
    """
    for i in range(pages.size):
        if times[i] >= until or found == order.size:
            break
        page = pages[i]
        if page < 0:
            page = ~page
        bit = bit_of(page)
        if wanted[page >> 6] & bit != 0:
            wanted[page >> 6] &= ~bit
            order[found] = page
            found += 1
    return found
