"""Walking along the service curve of a link: piecewise linear departures of stream bytes."""

from __future__ import annotations

from migsim._jit import jit
from migsim._types import Floats, Integers

__all__ = ["departure", "segment_of"]


@jit
def segment_of(stream: int, segment: int, curve_bytes: Integers) -> int:
    """Return the segment that byte number ``stream`` lies in, at ``segment`` or behind it."""
    while segment + 1 < curve_bytes.size and curve_bytes[segment + 1] < stream:
        segment += 1
    return segment


@jit
def departure(
    stream: int, segment: int, curve_at: Floats, curve_bytes: Integers, curve_pace: Floats
) -> float:
    """Return when byte number ``stream``, which lies in ``segment``, leaves."""
    return curve_at[segment] + (stream - curve_bytes[segment]) * curve_pace[segment]
