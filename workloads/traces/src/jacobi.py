"""Scientific computing with NumPy: a Jacobi stencil and Fourier transforms in turn.

Usage: jacobi.py SIDE
For 4 s the stencil sweeps over two arrays of SIDE x SIDE numbers in double precision, then for 2 s
one is transformed back and forth. It runs until it is ended.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]


def sweep(old: Grid, new: Grid) -> None:
    """Set each inner point to the mean of its four neighbours."""
    inner = new[1:-1, 1:-1]
    np.add(old[:-2, 1:-1], old[2:, 1:-1], out=inner)
    inner += old[1:-1, :-2]
    inner += old[1:-1, 2:]
    inner *= 0.25


def main() -> None:
    """Alternate between the two phases for ever."""
    side = int(sys.argv[1])
    old = np.random.default_rng(1).random((side, side))
    new = old.copy()
    print("ready", flush=True)
    while True:
        start = time.monotonic()
        while time.monotonic() - start < 4:
            sweep(old, new)
            old, new = new, old
        while time.monotonic() - start < 6:
            new[:] = np.fft.irfft2(np.fft.rfft2(new), new.shape)


if __name__ == "__main__":
    main()
