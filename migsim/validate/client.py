"""The model of a migrating guest's client against Linux's TCP: ``migsim/data/tcp-gap.csv``."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from migsim.network.client import Client, Traffic

__all__ = ["Wait", "recorded"]

_FILE = Path(__file__).parents[1] / "data" / "tcp-gap.csv"
_LATE = 0.06
"""Linux's timers are late by up to an eighth, typically a twentieth: ends of an outage that are
nearer to an attempt than that may be met by this attempt or the next."""


@dataclass(frozen=True)
class Wait:
    """A recorded wait, in seconds; `migsim/data/tcp-gap.md` says what the fields mean."""

    traffic: Traffic
    path: float
    outage: float
    sent: float
    timeout: float
    round_trip: float
    gap: float

    @property
    def client(self) -> Client:
        """The client, with the round trip and the timeout that the kernel told."""
        path = min(self.path, self.round_trip)
        return Client(
            traffic=self.traffic,
            rtt=path,
            queue=self.round_trip - path,
            floor=self.timeout - self.round_trip,
        )

    def predicted(self, longer: float = 0.0) -> float:
        """Return the wait by the model, were the outage ``longer`` by some seconds.

        A request meets the outage half a round trip after it was sent.
        """
        return self.client.gap(self.outage + longer, self.sent + self.path / 2.0)

    @property
    def error(self) -> float:
        """The measured wait above the predicted one, as a share of it."""
        return self.gap / self.predicted() - 1.0

    @property
    def clear(self) -> bool:
        """Whether the outage ended so far from an attempt that late timers do not matter."""
        slack = 0.005 + _LATE * self.outage
        return self.predicted(-slack) == self.predicted(slack)


@functools.cache
def recorded() -> tuple[Wait, ...]:
    """Return all recorded waits."""
    with _FILE.open(encoding="ascii", newline="") as file:
        return tuple(
            Wait(
                "upload" if row["traffic"] == "upload" else "requests",
                1e-3 * float(row["rtt_ms"]),
                *(float(row[f"{name}_s"]) for name in ("outage", "sent", "rto", "srtt", "gap")),
            )
            for row in csv.DictReader(file)
        )
