"""Names for the array types that cross module borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Bools", "Bytes", "Floats", "Integers", "Record", "Words"]

Words = npt.NDArray[np.uint64]
"""A bitmap: one bit a page, 64 pages a word."""
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Record = Any
"""A one-element record array (`numpy.recarray`): the named scalars of a kernel's state."""
