"""What can break in a migration, and what hosts do that do not hear from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from migsim.errors import InputError
from migsim.network.client import Client
from migsim.units import Seconds

__all__ = ["Fault", "Policy"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks in a migration.

    Attributes:
        kind: one of the hosts crashes, or the link between them goes down.
        at: seconds since the start of the migration.
        lasts: seconds for which the link is down; infinite for good.
        times: how often that happens, for a link that flaps.
        up: seconds in between.
    """

    kind: Literal["source crash", "destination crash", "link down"]
    at: Seconds
    lasts: Seconds = math.inf
    times: int = 1
    up: Seconds = 1.0

    def __post_init__(self) -> None:
        if self.kind not in {"source crash", "destination crash", "link down"}:
            raise InputError(
                f"fault: kind is {self.kind}, expected source crash, destination crash or link down"
            )
        for name in ("at", "lasts", "up"):
            value = getattr(self, name)
            if not value >= 0 or (name != "lasts" and math.isinf(value)):
                raise InputError(f"fault: {name} is {value}, expected 0 s or more")
        if self.times < 1:
            raise InputError(f"fault: times is {self.times}, expected at least 1")

    @property
    def outages(self) -> list[tuple[float, float]]:
        """When the link is down."""
        if self.kind != "link down":
            return []
        starts = [self.at] if math.isinf(self.lasts) else self._starts()
        return [(start, start + self.lasts) for start in starts]

    def _starts(self) -> list[float]:
        return [self.at + number * (self.lasts + self.up) for number in range(self.times)]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What hosts do that do not hear from each other.

    Attributes:
        confirm: what the source does with its paused guest when no answer comes. ``wait``: it is
            left paused until somebody decides: never twice, perhaps nowhere. ``resume``: it runs
            again: never nowhere for want of an answer, perhaps twice; libvirt takes an answer that
            was lost for a failure, and leaves the rest to lock managers (comments in its
            virDomainMigrateVersion3Full). ``fenced``: that lock. It lies on storage which both
            reach by another way than the link; who wants to run the guest takes it first, once and
            for all.
        patience: seconds from the last byte until a source that does not wait acts.
        postcopy: what a connection that broke after the switch means. ``recover``: both sides wait,
            and go on over a new one (QEMU's postcopy-paused and migrate-recover, of 2018);
            ``lose``: the guest is lost, as in QEMU before.
        broken_after: seconds of an outage after which a connection counts as broken; TCP's by
            default. Libvirt's keep-alive has 30 s (from memory).
    """

    confirm: Literal["wait", "resume", "fenced"] = "fenced"
    patience: Seconds = 30.0
    postcopy: Literal["recover", "lose"] = "recover"
    broken_after: Seconds = Client().patience

    def __post_init__(self) -> None:
        if self.confirm not in {"wait", "resume", "fenced"}:
            raise InputError(f"policy: confirm is {self.confirm}, expected wait, resume or fenced")
        if self.postcopy not in {"recover", "lose"}:
            raise InputError(f"policy: postcopy is {self.postcopy}, expected recover or lose")
        for name in ("patience", "broken_after"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(
                    f"policy: {name} is {getattr(self, name)}, expected more than 0 s, and finite"
                )
