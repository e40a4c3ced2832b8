"""Checks of what plug-ins hand to the kernels, which themselves trust every index."""

from __future__ import annotations

from migsim._jit import jit
from migsim._types import Floats, Integers

__all__ = ["first_bad_access", "first_bad_page"]


@jit
def first_bad_access(pages: Integers, times: Floats, count: int) -> int:
    """Return the first access beyond ``count`` pages, or before its predecessor; -1 if none is."""
    worst = 0
    for i in range(pages.size):
        page = pages[i]
        worst |= (page if page >= 0 else ~page) >= count
    for i in range(1, times.size):
        worst |= not times[i] >= times[i - 1]
    if not worst:
        return -1
    for i in range(pages.size):
        page = pages[i]
        if (page if page >= 0 else ~page) >= count or (i > 0 and not times[i] >= times[i - 1]):
            return i
    return -1


@jit
def first_bad_page(pages: Integers, count: int) -> int:
    """Return the first access that is no write of a page below ``count``; -1 if none is."""
    worst = 0
    for i in range(pages.size):
        worst |= (pages[i] < 0) | (pages[i] >= count)
    if not worst:
        return -1
    for i in range(pages.size):
        if pages[i] < 0 or pages[i] >= count:
            return i
    return -1
