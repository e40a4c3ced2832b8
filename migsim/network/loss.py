"""Loss in bursts: a Gilbert-Elliott channel."""

from __future__ import annotations

from dataclasses import dataclass

from migsim.errors import InputError
from migsim.units import parse

__all__ = ["Bursts", "parse_bursts"]

_LENGTH = 10.0
_INSIDE = 0.5


@dataclass(frozen=True)
class Bursts:
    """A Gilbert-Elliott channel: chances per packet (Elliott, Bell System Tech. Journal 1963).

    Attributes:
        begins, ends: that a burst begins, that it ends.
        inside: that a packet of a burst is lost.
    """

    begins: float
    ends: float
    inside: float


def parse_bursts(text: str | None) -> Bursts:
    """Return the channel that a text such as ``0.1%:10:50%`` stands for; None is without bursts.

    The mean share of packets lost, the mean packets of a burst (10) and the chance of a packet in
    it to be lost (0.5). Raises `InputError`.
    """
    if text is None:
        return Bursts(0.0, 1.0, 0.0)
    parts = text.split(":")
    try:
        if len(parts) > 3:
            raise InputError(f"got '{text}'")
        mean = parse(parts[0], "fraction")
        length = parse(parts[1], "number") if len(parts) > 1 else _LENGTH
        inside = parse(parts[2], "fraction") if len(parts) > 2 else _INSIDE
        if not (length >= 1 and 0 <= mean < inside <= 1):
            raise InputError(f"got '{text}'")
    except InputError as error:
        raise InputError(
            f"link: burst_loss: {error}; expected MEAN:LENGTH:INSIDE such as '0.1%:10:50%', "
            "a length of 1 or more, and a mean below the loss inside a burst"
        ) from None
    bad = mean / inside  # share of the packets that meet a burst
    return Bursts(min(1.0, bad / (1.0 - bad) / length), 1.0 / length, inside)
