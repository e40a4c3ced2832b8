"""VMware's Metro vMotion: what a socket buffer lets through at a round trip of 10 ms."""

from __future__ import annotations

import functools

from migsim.result import Result
from migsim.simulate import migrate
from migsim.validate.published.check import Check

__all__ = ["CHECKS"]


@functools.cache
def _idle_guest(buffer: str) -> Result:
    """Migrate an idle guest over 1 Gbit/s; ``buffer`` is the payload that the socket holds."""
    return migrate(
        "vmotion",
        "idle",
        "metro",
        memory="4GiB",
        link_args={"send_buffer": buffer, "send_share": 1, "send_refill": 0},
    ).result


def _payload_rate() -> float:
    """Return bytes per second of the stream: what a buffer bounds."""
    result = _idle_guest("0.5MB")
    return result.payload_bytes / result.total_seconds


def _wire_rate() -> float:
    """Return bytes per second with all headers: what a line carries."""
    result = _idle_guest("1.25MB")
    return result.bytes_sent / result.total_seconds


CHECKS = (
    Check(
        name="metro-vmotion-default",
        source="yellow-bricks 2011, Metro vMotion",
        claim="socket buffer of 0.5 MB at 10 ms: payload rate",
        unit="bytes/s",
        published=50e6,
        predict=_payload_rate,
        tolerance=0.05,
        note="the rate on the line, headers included, is 6 % above it",
    ),
    Check(
        name="metro-vmotion-resized",
        source="yellow-bricks 2011, Metro vMotion",
        claim="socket buffer of 1.25 MB at 10 ms: rate on the line",
        unit="bytes/s",
        published=125e6,
        predict=_wire_rate,
        tolerance=0.05,
    ),
)
