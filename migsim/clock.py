"""The guest's clock: virtual time as the guest sees it, slowed by throttling, halted by a pause.

The mapping changes only where an algorithm acts, never where time is cut: it is anchored at the
last change, so that any partition of a stretch of time gives the same times to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Clock"]


@dataclass
class Clock:
    """Maps guest seconds g to virtual time: anchor_real + (g - anchor_guest) * stretch + lag.

    Attributes:
        running: False while the guest is paused; guest time stands still then.
        lag: seconds lost since the anchor, to first-write faults and to mirrored writes;
        mirror_lag: those of them that mirrored writes took.
        throttled_seconds, tracking_seconds, mirror_seconds: what throttling, first writes and
            mirrored writes took up to the anchor.
    """

    anchor_real: float = 0.0
    anchor_guest: float = 0.0
    stretch: float = 1.0
    lag: float = 0.0
    mirror_lag: float = 0.0
    running: bool = True
    throttled_seconds: float = 0.0
    tracking_seconds: float = 0.0
    mirror_seconds: float = 0.0

    @property
    def mapping(self) -> tuple[bool, float, float, float, float]:
        """All that decides how time is mapped: clocks that have it in common map alike."""
        return self.running, self.anchor_real, self.anchor_guest, self.stretch, self.lag

    def guest_time(self, now: float) -> float:
        """Return the guest seconds that have passed by ``now``."""
        if not self.running:
            return self.anchor_guest
        return self.anchor_guest + (now - self.anchor_real - self.lag) / self.stretch

    def settle(self, now: float) -> None:
        """Move the anchor to ``now`` and book the time since the last one."""
        if self.running:
            guest = self.guest_time(now)
            self.throttled_seconds += (guest - self.anchor_guest) * (self.stretch - 1.0)
            self.tracking_seconds += self.lag - self.mirror_lag
            self.mirror_seconds += self.mirror_lag
            self.anchor_guest = guest
        self.anchor_real = now
        self.lag = self.mirror_lag = 0.0

    def pause(self, now: float) -> None:
        """Stop the guest at ``now``."""
        self.settle(now)
        self.running = False

    def run(self, now: float, speed: float) -> None:
        """Let the guest run from ``now`` on at ``speed`` guest seconds per second."""
        self.settle(now)
        self.running = True
        self.stretch = 1.0 / speed
