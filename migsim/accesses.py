"""A window onto a workload's accesses that kernels read from."""

from __future__ import annotations

import math

import numpy as np

from migsim._kernels.bulk import Accesses
from migsim._kernels.checks import first_bad_access, first_bad_page
from migsim._kernels.draws import stamp_accesses
from migsim._types import Floats, Integers
from migsim.content import Content
from migsim.errors import InputError
from migsim.workload import Steady, Workload, sweep_of

__all__ = ["AccessWindow"]


_NO_TIMES: Floats = np.empty(0, np.float64)


class AccessWindow:
    """The accesses ``first`` to ``first + len(pages) - 1``, made anew whenever it is moved.

    Attributes:
        pages: int64, p for a write of page p, ~p for a read.
        changes: int64, what each write changes (`migsim._kernels.content.write_page`); empty unless
            content is kept track of.
        stands_still: whether it need not be moved on for now, as no access changes anything.
    """

    BLOCK = 1 << 16
    """Accesses made at a time, at most: the arrays stay in the second-level cache."""
    FIRST_BLOCK = 1 << 12
    """Accesses made where the window is moved by a jump; then twice as many each time."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._limit = max(1, workload.pages)  # `idle` has no pages, and an access that never comes
        # Where writes come at equal distances, their times need not be listed.
        self._even: Steady | None = None
        if type(workload) is Steady and workload.only_writes and math.isfinite(workload.interval):
            self._even = workload
        self._sweep = sweep_of(workload)
        self.first = 0
        self.pages: Integers = np.empty(0, np.int64)
        self.changes: Integers = np.empty(0, np.int64)
        self.stands_still = False
        self._times = _NO_TIMES
        self._content: Content | None = None

    @property
    def times(self) -> Floats:
        """Guest seconds of the accesses, float64."""
        if self._times.size != self.pages.size:
            assert self._even is not None
            self._times = np.empty(self.pages.size, np.float64)
            stamp_accesses(self.first, self.pages, self._times, self._even.interval, 1.0)
        return self._times

    @property
    def accesses(self) -> Accesses:
        """The accesses from ``first`` on, as kernels take them."""
        if self._sweep is not None:
            return Accesses(self.pages, _NO_TIMES, self.first, *self._sweep, stands_in=0)
        if self._even is not None:
            count = self._even.pages if self.stands_still else 0
            sweep = (0, count, 0, self._even.interval)
            return Accesses(self.pages, _NO_TIMES, self.first, *sweep, stands_in=int(count > 0))
        return Accesses(self.pages, self._times, self.first, 0, 0, 0, 0.0, stands_in=0)

    @property
    def writes_below(self) -> int:
        """Below which page all accesses are, where they are known to be writes; else 0."""
        return 0 if self._even is None or self._sweep is not None else self._even.pages

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
        """Hold ``count`` accesses from ``first`` on, by default more the longer this goes on."""
        if count is None:
            goes_on = 0 < self.pages.size <= 2 * (first - self.first)
            count = min(self.BLOCK, 2 * self.pages.size if goes_on else self.FIRST_BLOCK)
        if self.pages.size != count:
            self.pages = np.empty(count, np.int64)
        self.first, self.stands_still = first, False
        if self._even is not None:
            self._even.draw(first, self.pages)
            self._times = _NO_TIMES
            bad = first_bad_page(self.pages, self._limit)
        else:
            if self._times.size != count:
                self._times = np.empty(count, np.float64)
            self._workload.accesses(first, self.pages, self._times)
            bad = first_bad_access(self.pages, self._times, self._limit)
        if bad >= 0:
            page, when = int(self.pages[bad]), float(self.times[bad])
            raise InputError(
                f"workload: access {first + bad} is to page {max(page, ~page)} at {when!r} s, "
                f"expected a page below {self._limit} and no time before that of access "
                f"{first + bad - 1}"
            )
        self._note_changes()
