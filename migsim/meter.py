"""What a hypervisor knows: bandwidth and dirty rate as it would estimate them while migrating."""

from __future__ import annotations

from collections import deque

__all__ = ["BandwidthMeter"]


class BandwidthMeter:
    """Bytes per second of the stream over the last stretch of sending.

    QEMU divides the bytes of the last window of at least 100 ms by its length; shorter acts are
    taken together until they make up such a window.
    """

    WINDOW = 0.1

    def __init__(self) -> None:
        self._acts: deque[tuple[int, float]] = deque()
        self._bytes = 0
        self._seconds = 0.0

    def add(self, size: int, seconds: float) -> None:
        """Take note of an act that sent ``size`` stream bytes in ``seconds``."""
        if size == 0:
            return
        self._acts.append((size, seconds))
        self._bytes += size
        self._seconds += seconds
        while len(self._acts) > 1 and self._seconds - self._acts[0][1] >= self.WINDOW:
            old_size, old_seconds = self._acts.popleft()
            self._bytes -= old_size
            self._seconds -= old_seconds

    @property
    def rate(self) -> float:
        """Bytes per second; 0 before anything was sent, infinite where it took no time."""
        if self._bytes == 0:
            return 0.0
        return self._bytes / self._seconds if self._seconds > 0 else float("inf")
