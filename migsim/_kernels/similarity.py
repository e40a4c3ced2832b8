"""How much the words of a page resemble one another, as WKdm looks at them."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Words32

__all__ = ["similar_words"]


@jit
def similar_words(words: Words32, recent: Words32) -> int:
    """Count the 32-bit words that are zero, or whose upper 22 bits agree with a recent word.

    Recent is the last word with the same hash, one of sixteen (Wilson et al., USENIX 1999); they
    are kept in ``recent`` (16,).
    """
    recent[:] = np.uint32(0)
    count = 0
    for word in words:
        upper = word >> np.uint32(10)
        place = np.int64((upper * np.uint32(2654435761)) >> np.uint32(28)) & 15
        count += word == 0 or recent[place] == upper
        recent[place] = upper
    return count
