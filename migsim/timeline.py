"""What happened in a migration, act by act."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from migsim.errors import InputError

__all__ = ["Act", "Event", "Place", "Timeline"]

Act = Literal[
    "send", "sync", "wait", "pause", "resume", "push", "throttle", "send_blocks", "push_blocks"
]
Place = Literal["source", "paused", "destination"]


@dataclass(frozen=True)
class Event:
    """One act of the algorithm.

    Attributes:
        act: what was done.
        start, end: seconds since the start of the migration.
        round: the pre-copy round it belongs to; 0 before the first.
        guest: where the guest was when the act began.
        pages: pages sent, found dirty (sync), or missing (resume); blocks of the disk for acts on
            them.
        stream_bytes: bytes that the act put into the stream, headers of pages included.
        zero_pages: zero pages among those sent.
        faults: accesses that had to wait for a page, or I/Os for a block.
        speed: guest seconds per second that throttling and pauses leave.
    """

    act: Act
    start: float
    end: float
    round: int
    guest: Place
    pages: int = 0
    stream_bytes: int = 0
    zero_pages: int = 0
    faults: int = 0
    speed: float = 1.0

    @property
    def seconds(self) -> float:
        """How long the act took."""
        return self.end - self.start


@dataclass
class Timeline:
    """The events of one migration in order of time."""

    events: list[Event] = field(default_factory=list)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def write_csv(self, path: Path) -> None:
        """Write one row an event; the columns are `Event`'s attributes. Raises `InputError`."""
        names = [item.name for item in dataclasses.fields(Event)]
        try:
            with path.open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(names)
                rows.writerows([getattr(event, name) for name in names] for event in self.events)
        except OSError as error:
            raise InputError(f"{path}: cannot write the timeline: {error.strerror}") from None
