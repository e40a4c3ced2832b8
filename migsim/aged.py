"""A guest that has been running for a while when its migration begins."""

from __future__ import annotations

from migsim._types import Bytes, Floats, Integers
from migsim.content import RecordedContent, is_recorded
from migsim.workload import Workload

__all__ = ["aged"]


class _Aged:
    """A workload that is entered at a later guest time."""

    def __init__(self, workload: Workload, age: float) -> None:
        self.pages = workload.pages
        self._workload, self._age = workload, age
        self._made = workload.index(age)

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time``, from the age on."""
        return self._workload.index(self._age + guest_time) - self._made if guest_time > 0 else 0

    def accesses(self, first: int, pages: Integers, times: Floats) -> None:
        """Fill in the accesses from ``first`` on."""
        self._workload.accesses(self._made + first, pages, times)
        times -= self._age


class _AgedRecording(_Aged):
    """One that says what its writes change."""

    def __init__(self, workload: Workload, recorded: RecordedContent, age: float) -> None:
        super().__init__(workload, age)
        self._recorded = recorded

    @property
    def spots(self) -> int:
        """Places of a page in which its writes fall; 0 for any place."""
        return self._recorded.spots

    def changes(self, first: int, out: Integers) -> None:
        """Fill in what the accesses from ``first`` on change."""
        self._recorded.changes(self._made + first, out)

    def classes(self, out: Bytes) -> None:
        """Set the class of each page that it knows."""
        self._recorded.classes(out)


def aged(workload: Workload, age: float) -> Workload:
    """Return ``workload`` as it goes on after ``age`` guest seconds.

    What it has written before is not replayed: the content of pages is that of its beginning.
    """
    if not age:
        return workload
    recorded = workload if is_recorded(workload) else None
    return _Aged(workload, age) if recorded is None else _AgedRecording(workload, recorded, age)
