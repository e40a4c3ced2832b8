"""Names for the array types that cross module borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bools",
    "Bytes",
    "Floats",
    "Integers",
    "Ints32",
    "Record",
    "Shorts",
    "Words",
    "Words32",
]

Words = npt.NDArray[np.uint64]
"""A bitmap: one bit a page, 64 pages a word."""
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Shorts = npt.NDArray[np.uint16]
Words32 = npt.NDArray[np.uint32]
Ints32 = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Record = Any
"""A one-element record array (`numpy.recarray`): the named scalars of a kernel's state."""
