"""A window onto a workload's accesses that kernels read from."""

from __future__ import annotations

import numpy as np

from migsim._kernels.bulk import Accesses
from migsim._kernels.checks import first_bad_access
from migsim._types import Floats, Integers
from migsim.content import Content
from migsim.errors import InputError
from migsim.workload import Sweep, Workload

__all__ = ["AccessWindow"]


class AccessWindow:
    """The accesses ``first`` to ``first + len(pages) - 1``, made anew whenever it is moved.

    Attributes:
        pages: int64, p for a write of page p, ~p for a read.
        times: float64, guest seconds.
        changes: int64, what each write changes (`migsim._kernels.content.write_page`); empty unless
            content is kept track of.
    """

    BLOCK = 1 << 15
    """Accesses made at a time: both arrays stay in the second-level cache."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._limit = max(1, workload.pages)  # `idle` has no pages, and an access that never comes
        self.first = 0
        self.pages: Integers = np.empty(0, np.int64)
        self.times: Floats = np.empty(0, np.float64)
        self.changes: Integers = np.empty(0, np.int64)
        self._content: Content | None = None
        self._sweep: Sweep | None = getattr(workload, "sweep", None)

    @property
    def sweeps(self) -> bool:
        """Whether kernels may know the accesses without the arrays."""
        return self._sweep is not None

    @property
    def accesses(self) -> Accesses:
        """The accesses from ``first`` on, as kernels take them."""
        return Accesses(self.pages, self.times, self.first, *(self._sweep or Sweep(0, 0, 0, 0.0)))

    def track(self, content: Content) -> None:
        """Tell from now on what the writes change."""
        self._content = content
        self._note_changes()

    def _note_changes(self) -> None:
        if self._content is not None:
            if self.changes.size != self.pages.size:
                self.changes = np.empty(self.pages.size, np.int64)
            self._content.changes(self.first, self.changes)

    def move(self, first: int, count: int | None = None) -> None:
        """Hold ``count`` accesses from ``first`` on, `BLOCK` by default."""
        count = self.BLOCK if count is None else count
        if self.pages.size != count:
            self.pages = np.empty(count, np.int64)
            self.times = np.empty(count, np.float64)
        self._workload.accesses(first, self.pages, self.times)
        bad = first_bad_access(self.pages, self.times, self._limit)
        if bad >= 0:
            page, when = int(self.pages[bad]), float(self.times[bad])
            raise InputError(
                f"workload: access {first + bad} is to page {max(page, ~page)} at {when!r} s, "
                f"expected a page below {self._limit} and no time before that of access "
                f"{first + bad - 1}"
            )
        self.first = first
        self._note_changes()
