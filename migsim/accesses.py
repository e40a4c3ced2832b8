"""A window onto a workload's accesses that kernels read from."""

from __future__ import annotations

import numpy as np

from migsim._types import Floats, Integers
from migsim.workload import Workload

__all__ = ["AccessWindow"]


class AccessWindow:
    """The accesses ``first`` to ``first + len(pages) - 1``, made anew whenever it is moved.

    Attributes:
        pages: int64, p for a write of page p, ~p for a read.
        times: float64, guest seconds.
    """

    BLOCK = 1 << 15
    """Accesses made at a time: both arrays stay in the second-level cache."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.first = 0
        self.pages: Integers = np.empty(0, np.int64)
        self.times: Floats = np.empty(0, np.float64)

    def move(self, first: int, count: int | None = None) -> None:
        """Hold ``count`` accesses from ``first`` on, `BLOCK` by default."""
        count = self.BLOCK if count is None else count
        if self.pages.size != count:
            self.pages = np.empty(count, np.int64)
            self.times = np.empty(count, np.float64)
        self._workload.accesses(first, self.pages, self.times)
        self.first = first
