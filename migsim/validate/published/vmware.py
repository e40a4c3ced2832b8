"""VMware's Metro vMotion: what a socket buffer lets through at a round trip of 10 ms."""

from __future__ import annotations

import functools

from migsim.simulate import migrate
from migsim.validate.published.check import Check

__all__ = ["CHECKS"]


def _wire_rate(buffer: str) -> float:
    """Return the bytes per second on the wire of an idle guest's vMotion at 1 Gbit/s, 10 ms.

    ``buffer`` is the payload that the socket keeps in flight.
    """
    result = migrate(
        "vmotion",
        "idle",
        "metro",
        memory="4GiB",
        link_args={"send_buffer": buffer, "send_share": 1, "send_refill": 0},
    ).result
    return result.bytes_sent / result.total_seconds


CHECKS = tuple(
    Check(
        name=f"metro-vmotion-{name}",
        source="yellow-bricks 2011, Metro vMotion",
        claim=f"socket buffer of {buffer} at 10 ms: rate on the wire",
        unit="bytes/s",
        published=rate,
        predict=functools.partial(_wire_rate, buffer),
        tolerance=0.05,
    )
    for name, buffer, rate in (("default", "0.5MB", 50e6), ("resized", "1.25MB", 125e6))
)
