"""What headers cost: bytes of Ethernet, IP, TCP and of what tunnels and encryption add."""

from __future__ import annotations

import functools

from migsim.errors import InputError, did_you_mean

__all__ = ["ENCAPSULATIONS", "ETHERNET", "TCP_IP", "extra_bytes", "parse_encapsulation"]

ETHERNET = 38
"""Preamble 8, header 14, check sequence 4, gap 12 (IEEE 802.3)."""
TCP_IP = 52
"""IPv4 20, TCP 20, time stamps 12 (RFC 791, 9293, 7323): inside the MTU."""

_TLS_RECORD = 16_384
_TLS_BYTES = 22  # record header 5, content type 1, tag 16 (RFC 8446, AES-GCM)

# name -> bytes outside the MTU of the path, bytes inside it
ENCAPSULATIONS: dict[str, tuple[int, int]] = {
    "vlan": (4, 0),  # IEEE 802.1Q
    # Outer IPv4 20, UDP 8, VXLAN 8 and the inner Ethernet header 14 (RFC 7348).
    "vxlan": (0, 50),
    # Tunnel mode: outer IPv4 20, SPI and sequence number 8, IV 8, ICV 16 (RFC 4303, 4106); the
    # padding goes by the packet, see `extra_bytes`.
    "ipsec": (0, 52),
    "tls": (0, 0),  # goes by the record, see `extra_bytes`
}


@functools.cache
def parse_encapsulation(text: str | None) -> tuple[str, ...]:
    """Return the names in a text such as ``vlan,ipsec``. Raises `InputError`.

    >>> parse_encapsulation("vlan,tls")
    ('vlan', 'tls')
    """
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for name in names:
        if name not in ENCAPSULATIONS:
            hint = did_you_mean(name, ENCAPSULATIONS)
            raise InputError(f"link: encapsulation: there is no '{name}', {hint}")
    if len(set(names)) < len(names):
        raise InputError(f"link: encapsulation is {text}: one of them is given twice")
    return names


@functools.cache
def extra_bytes(names: tuple[str, ...], mtu: int) -> tuple[int, float]:
    """Return what encapsulations add to a full packet: outside the MTU, and inside it.

    IPsec pads what it encrypts, and two bytes of its own, to a multiple of four. TLS adds 22 bytes
    to a record of 16 KiB, which is a fraction of a packet's content.

    >>> extra_bytes(("vlan", "vxlan"), 1500)
    (4, 50.0)
    >>> extra_bytes(("ipsec",), 1500), extra_bytes(("ipsec",), 1499)
    ((0, 54.0), (0, 57.0))
    """
    outside = sum(ENCAPSULATIONS[name][0] for name in names)
    inside = float(sum(ENCAPSULATIONS[name][1] for name in names))
    if "ipsec" in names:
        inside += (mtu - ENCAPSULATIONS["ipsec"][1]) % 4 + 2
    if "tls" in names:
        inside += (mtu - TCP_IP - inside) * _TLS_BYTES / (_TLS_RECORD + _TLS_BYTES)
    return outside, inside
