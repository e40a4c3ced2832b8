"""A path between two hosts: rate, round trip, loss, queue, transport, and what headers cost."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from migsim.errors import InputError
from migsim.network.headers import ETHERNET, TCP_IP, extra_bytes, parse_encapsulation
from migsim.network.loss import Bursts, parse_bursts
from migsim.network.schedule import Schedule, make_schedule, trace_files
from migsim.parameters import NamesFiles
from migsim.units import KIB, MIB, ByteRate, Bytes, Fraction, Seconds, parse

__all__ = ["LEAST_QUEUE", "PRESETS", "SEND_LIMIT", "Congestion", "Link"]

_GBIT = 125e6
LEAST_QUEUE = 256 * KIB
"""Bytes that a router's queue holds at least by default."""
_LOCAL_ROUND_TRIP = 1e-3  # up to which a path is taken for a LAN
# Linux lets a connection keep about a millisecond of its rate in the interface's own queues ("TCP
# small queues": tcp_limit_output_bytes, sk_pacing_shift) and refills them as they drain: half.
_LOCAL_QUEUE_SECONDS = 0.5e-3
SEND_LIMIT = 4 * MIB
"""Bytes that Linux's send buffer grows to: the last number of tcp_wmem."""
# Linux lets the send buffer grow to twice the window, counted in packets of 2,304 bytes
# (tcp_sndbuf_expand). `tests/test_tcp.py` compares what a socket then holds with measured ones.
_SOCKET_GROWTH = 4608
_IN_PRODUCTS = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*bdp\s*")

_RANGES: dict[str, tuple[float, float, str]] = {
    "rtt": (0, 1000, " seconds"),
    "jitter": (0, 1000, " seconds"),
    "loss": (0, 0.99, ""),
    "mtu": (576, 65_535, " bytes"),
    "overhead": (0, 10_000, " bytes"),
    "page_header": (0, 10_000, " bytes"),
    "initial_window": (1, 10_000, " segments"),
    "streams": (1, 1024, ""),
    "background": (0, math.inf, " bytes per second"),
    "background_flows": (0, 1024, ""),
    "send_share": (0.01, 1, ""),
    "receive_share": (0.01, 1, ""),
    "send_refill": (0, 0.9, ""),
}

Congestion = Literal["cubic", "bbr", "reno", "none"]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A path, the same in both directions, and the TCP that a migration runs over it.

    Attributes:
        rate: bytes per second on the wire of its narrowest part, headers included.
        rtt: round-trip time of the idle path.
        jitter: greatest addition to a round trip, uniform; bulk data draw one for each round trip,
            small requests meet its mean.
        loss: chance of each packet to be lost, independently.
        burst_loss: loss in bursts on top, ``MEAN[:LENGTH[:INSIDE]]``: the mean share lost, the
            mean packets of a burst (10), the chance of a packet in it to be lost (0.5).
        queue: what the bottleneck holds before it drops: a size, or ``2bdp``; or ``local``: the
            bottleneck is the sender's own interface, which makes TCP wait and drops nothing. By
            default ``local`` up to a round trip of 1 ms without others' flows, and otherwise one
            product of rate and round trip, at least 256 KiB.
        congestion: ``cubic`` (Linux's default, RFC 9438), ``bbr`` (version 1), ``reno``, or
            ``none``: the plain rate, with neither windows nor losses.
        streams: parallel connections, as QEMU's multifd channels.
        send_buffer: memory of the sender's socket. By default Linux's, which grows with the window
            up to 4 MiB; a size stands for so much, whatever the window.
        receive_buffer: the most that the receiver's memory grows to. Linux's default is 6 MiB.
        send_share, receive_share: the part of that memory that holds payload; the rest is Linux's
            bookkeeping for each packet. 1 where a source gives the payload itself.
        send_refill: the part of a full send buffer that has to be acknowledged before the writer
            goes on. Linux wakes a blocked writer when a third is free: a window that the buffer
            limits leaves B bytes per (round trip + time on the wire of B/3).
        mtu: bytes of an IP packet.
        overhead: header bytes of a packet on the wire. 90 is Ethernet with preamble and gap (38),
            IPv4 (20) and TCP with time stamps (32). 0 switches all headers off, those of pages
            too.
        encapsulation: what adds to that: any of ``vlan``, ``vxlan``, ``ipsec``, ``tls``, such as
            ``vlan,tls``.
        trace: the rate over time, at most ``rate``: a file of lines ``SECONDS,RATE``, or
            ``step(at=10s, to=500Mbit/s)``, ``diurnal(low=30%)``, ``cellular(low=10%, every=1s)``.
        background: other traffic of constant rate that does not give way. Where a trace leaves it
            no room, we get a hundredth of the rate.
        background_flows: long-lived TCP connections of others through the same bottleneck, with
            our congestion control (cubic or reno) and round trip: they and our streams give way to
            one another.
        outages: when the link is down, ``START+LENGTH`` such as ``10s+2s,60s+inf``.
        page_header: bytes before each page in the migration stream; QEMU has 8. A zero page is
            this header and one byte.
        initial_window: segments that a new connection sends in its first round trip (RFC 6928).
    """

    rate: ByteRate
    rtt: Seconds
    jitter: Seconds = 0.0
    loss: Fraction = 0.0
    burst_loss: str | None = None
    queue: str | None = None
    congestion: Congestion = "cubic"
    streams: int = 1
    send_buffer: Bytes | None = None
    receive_buffer: Bytes = 6 * MIB
    send_share: Fraction = 0.943
    receive_share: Fraction = 0.65
    send_refill: Fraction = 1 / 3
    mtu: Bytes = 1500
    overhead: Bytes = ETHERNET + TCP_IP
    encapsulation: str | None = None
    trace: Annotated[str, NamesFiles(trace_files)] | None = None
    background: ByteRate = 0.0
    background_flows: int = 0
    outages: str | None = None
    page_header: Bytes = 8
    initial_window: int = 10

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise InputError(f"link: rate is {self.rate}, expected more than 0 bytes per second")
        for name, (least, most, unit) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"link: {name} is {value}, expected {least:,} to {most:,}{unit}")
        if self.congestion not in {"cubic", "bbr", "reno", "none"}:
            raise InputError(
                f"link: congestion is {self.congestion}, expected cubic, bbr, reno or none"
            )
        if self.background_flows and self.congestion not in {"cubic", "reno"}:
            raise InputError(
                f"link: background_flows with congestion {self.congestion}, expected cubic or "
                "reno: how others share a path is not modelled"
            )
        if self.background_flows and self.queue_is_local:
            raise InputError(
                "link: background_flows with queue local, expected a size: others do not send "
                "through our interface"
            )
        if not self.background < self.rate:
            raise InputError(
                f"link: background is {self.background}, expected less than the rate of {self.rate}"
            )
        for name, payload in (("send", self._sent), ("receive", self._received)):
            if payload < self.segment:
                raise InputError(
                    f"link: {name}_buffer holds {payload:.0f} bytes of payload ({name}_share), "
                    f"expected at least a segment of {self.segment}"
                )
        # What is written as text is read once here, so that a mistake is told at once.
        _ = self.queue_bytes, self.bursts, self.schedule()

    @property
    def segment(self) -> int:
        """Stream bytes that one full packet carries (the TCP maximum segment size)."""
        inside = extra_bytes(parse_encapsulation(self.encapsulation), self.mtu)[1]
        return self.mtu - TCP_IP - math.ceil(inside)

    @property
    def packet_overhead(self) -> int:
        """Bytes on the wire of a full packet beside its stream bytes, encapsulation included."""
        if not self.overhead:
            return 0
        outside, inside = extra_bytes(parse_encapsulation(self.encapsulation), self.mtu)
        return self.overhead + outside + math.ceil(inside)

    @property
    def packet(self) -> int:
        """Bytes on the wire of a full packet."""
        return self.segment + self.packet_overhead

    @property
    def goodput(self) -> float:
        """Stream bytes per second at full rate, packet headers deducted: 941 of 1000 Mbit/s."""
        return self.rate * self.segment / self.packet

    @property
    def _sent(self) -> float:
        """Payload bytes that a connection's full send buffer holds."""
        return self.send_share * (SEND_LIMIT if self.send_buffer is None else self.send_buffer)

    @property
    def _received(self) -> float:
        """Payload bytes that fit into a connection's receive buffer."""
        return self.receive_share * self.receive_buffer

    @property
    def buffer(self) -> float:
        """Payload bytes that one connection can have in flight: what both sockets hold."""
        return min(self._sent, self._received)

    @property
    def refill(self) -> float:
        """Payload bytes that have to be acknowledged before a blocked writer goes on."""
        return self.send_refill * self._sent if self._sent <= self.buffer else 0.0

    @property
    def socket(self) -> float:
        """Payload bytes that a busy sender's grown send buffer holds on average, in flight or not.

        It is drained by a refill before it is filled up.
        """
        return 0.0 if self.plain else self._sent * (1.0 - self.send_refill / 2.0)

    @property
    def socket_growth(self) -> float:
        """Payload bytes that the send buffer holds for each packet of the widest window so far."""
        if self.send_buffer is not None:
            return math.inf
        return _SOCKET_GROWTH * self.send_share * (1.0 - self.send_refill / 2.0)

    @property
    def plain(self) -> bool:
        """Whether bytes leave at the plain rate, without windows, losses and queues."""
        calm = self.loss == 0 and self.burst_loss is None and self.jitter == 0
        return self.congestion == "none" or (self.rtt == 0 and calm and self.background_flows == 0)

    @property
    def one_way(self) -> float:
        """Seconds that a small message takes from host to host, on average."""
        return (self.rtt + self.jitter / 2.0) / 2.0

    @property
    def queue_is_local(self) -> bool:
        """Whether the queue is that of the sender's own interface."""
        if self.queue is None:
            return self.rtt <= _LOCAL_ROUND_TRIP and not self.background_flows
        return self.queue.strip() == "local"

    @property
    def queue_bytes(self) -> float:
        """Bytes on the wire that the bottleneck holds beyond those under way."""
        rate = 0.0 if math.isinf(self.rate) else self.rate
        product = rate * self.rtt
        if self.queue_is_local:
            return rate * _LOCAL_QUEUE_SECONDS
        if self.queue is None:
            return max(product, LEAST_QUEUE)
        multiple = _IN_PRODUCTS.fullmatch(self.queue)
        if multiple:
            return float(multiple[1]) * product
        try:
            return parse(self.queue, "size")
        except InputError as error:
            raise InputError(
                f"link: queue: {error}, a multiple such as '2bdp', or 'local'"
            ) from None

    @property
    def bursts(self) -> Bursts:
        """The bursty part of the loss; chances of 0 where there is none."""
        return parse_bursts(self.burst_loss)

    @property
    def message_header(self) -> int:
        """Bytes before each page in the stream."""
        return self.page_header if self.overhead else 0

    def header_bytes(self, stream_bytes: int) -> int:
        """Return the packet headers that a stream of so many bytes needs."""
        return -(-stream_bytes // self.segment) * self.packet_overhead

    def schedule(self, seed: int = 0) -> Schedule:
        """Return the rate that is left for us over time."""
        return make_schedule(self.rate, self.trace, self.outages, self.background, seed)


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
