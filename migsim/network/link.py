"""A path between two hosts: its rate, its round trip and what its headers cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from migsim.errors import InputError
from migsim.units import ByteRate, Bytes, Seconds

__all__ = ["PRESETS", "Link"]

_GBIT = 125e6
_TCP_IP_HEADERS = 52  # IPv4 20, TCP 20, time stamps 12: inside the MTU


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symmetric path that one migration has for itself.

    Attributes:
        rate: bytes per second on the wire, headers included, in each direction.
        rtt: round-trip time of an idle path.
        overhead: header bytes of a packet on the wire. 90 is Ethernet with preamble and gap (38),
            IPv4 (20) and TCP with time stamps (32). 0 switches all headers off, those of pages
            too.
        page_header: bytes before each page in the migration stream; QEMU has 8. A zero page is
            this header and one byte.
        mtu: bytes of an IP packet.
        initial_window: segments that a new connection sends in its first round trip (RFC 6928).
        send_buffer: bytes that lie in the socket buffer ahead of a demanded page in post-copy.
            0 describes a channel of its own for them, as QEMU's postcopy-preempt has.
    """

    rate: ByteRate
    rtt: Seconds
    overhead: Bytes = 90
    page_header: Bytes = 8
    mtu: Bytes = 1500
    initial_window: int = 10
    send_buffer: Bytes = 0

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise InputError(f"link: rate is {self.rate}, expected more than 0 bytes per second")
        if not 0 <= self.rtt < math.inf:
            raise InputError(f"link: rtt is {self.rtt}, expected a finite time of 0 or more")
        if self.mtu < 576:
            raise InputError(f"link: mtu is {self.mtu}, expected at least 576 bytes")
        if self.initial_window < 1:
            raise InputError(
                f"link: initial_window is {self.initial_window}, expected at least 1 segment"
            )

    @property
    def segment(self) -> int:
        """Stream bytes that one full packet carries (the TCP maximum segment size)."""
        return self.mtu - _TCP_IP_HEADERS

    @property
    def goodput(self) -> float:
        """Stream bytes per second at full rate, packet headers deducted: 941 of 1000 Mbit/s."""
        return self.rate * self.segment / (self.segment + self.overhead)

    @property
    def retransmission_timeout(self) -> float:
        """Seconds after which the sender takes silence for loss, and an idle window for too large.

        Linux adds at least 200 ms to the smoothed round trip.
        """
        return self.rtt + 0.2

    @property
    def message_header(self) -> int:
        """Bytes before each page in the stream."""
        return self.page_header if self.overhead else 0

    def header_bytes(self, stream_bytes: int) -> int:
        """Return the packet headers that a stream of so many bytes needs."""
        return -(-stream_bytes // self.segment) * self.overhead


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "gigabit": ("Gigabit Ethernet inside one site.", {"rate": _GBIT, "rtt": 200e-6}),
    "10g": ("10-Gigabit Ethernet inside one site.", {"rate": 10 * _GBIT, "rtt": 100e-6}),
    "25g": ("25-Gigabit Ethernet inside one rack row.", {"rate": 25 * _GBIT, "rtt": 50e-6}),
    "100g": ("100-Gigabit Ethernet inside one rack row.", {"rate": 100 * _GBIT, "rtt": 50e-6}),
    "metro": ("1 Gbit/s between two sites of one region.", {"rate": _GBIT, "rtt": 10e-3}),
    "transatlantic": ("1 Gbit/s between New York and London.", {"rate": _GBIT, "rtt": 70e-3}),
    "long_distance": ("1 Gbit/s over a round trip of 100 ms.", {"rate": _GBIT, "rtt": 100e-3}),
    "unlimited": ("A network that takes no time.", {"rate": math.inf, "rtt": 0.0}),
    "custom": ("A link of your own: give rate and rtt.", {}),
}
"""Preset links: name -> (description, the attributes that differ from `Link`'s defaults)."""
