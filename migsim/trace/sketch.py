"""A recording drawn in characters, for a terminal."""

from __future__ import annotations

import numpy as np

from migsim._types import Floats
from migsim.trace.analysis import density
from migsim.trace.format import Trace

__all__ = ["sketch"]

_SHADES = " .:-=+*#%@"
_BARS = " ▁▂▃▄▅▆▇█"


def _characters(values: Floats, ramp: str) -> str:
    """Return a character for each value, from the ramp's first at 0 to its last at the largest."""
    top = max(float(values.max(initial=0.0)), 1e-300)
    steps = np.ceil(values / top * (len(ramp) - 1)).astype(np.int64)
    return "".join(ramp[step] for step in steps)


def sketch(trace: Trace, rows: int = 12, columns: int = 64) -> str:
    """Return lines that show where and when pages were written, and how fast.

    Above a map of memory (upwards) and time (to the right): the darker, the larger the share of a
    band of pages that was written per interval. Below it the dirty rate.
    """
    share = density(trace, rows, columns)
    width = share.shape[1]
    shaded = _characters(np.sqrt(share).ravel(), _SHADES)
    lines = [shaded[i : i + width] for i in range(0, len(shaded), width)][::-1]
    slices = np.array_split(trace.counts.astype(np.float64), width)
    rates = np.array([part.mean() if part.size else 0.0 for part in slices])
    lengths = np.diff(trace.ends, prepend=0.0)
    mean = float(np.median(lengths)) if lengths.size else 1.0
    top = f"{rates.max(initial=0.0) / mean:,.0f} pages/s at most"
    memory, time = f"{trace.pages_total:,} pages", f"{trace.duration:.3g} s"
    frame = [f"  {memory}", *(f"  |{line}|" for line in lines)]
    return "\n".join([*frame, f"  |{_characters(rates, _BARS)}| {top}", f"  0{time:>{width + 1}}"])
