"""Page-exact pre-copies from 1 GiB to 24 TiB: real time, and resident memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from migsim.bench.measure import Measured, in_child
from migsim.bench.rows import Row, Target
from migsim.units import GIB, MIB

__all__ = ["CASES", "QUICK", "Guest", "rows", "scale"]

_PAGE = 4096
_TIB = 1024 * GIB


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A guest to migrate by pre-copy.

    Attributes:
        name: for tables.
        memory: bytes.
        rate: page writes per second.
        working_set: bytes that they go to; None: the workload's default, a quarter of the memory.
        link: a preset.
        seconds, peak_bytes: what is wanted at most, if anything is.
    """

    name: str
    memory: int
    rate: float
    working_set: int | None = None
    link: str
    seconds: float | None = None
    peak_bytes: float | None = None

    def task(self) -> dict[str, Any]:
        """Return the arguments of the `migsim.Task`, as JSON takes them."""
        working_set = {} if self.working_set is None else {"working_set": self.working_set}
        return {
            "algorithm": "precopy",
            "workload": "uniform",
            "link": self.link,
            "memory": self.memory,
            "workload_args": {"rate": self.rate, **working_set},
        }


def _busy(
    name: str, memory: int, *, seconds: float | None = None, peak_bytes: float | None = None
) -> Guest:
    return Guest(
        name=name, memory=memory, rate=1e6, link="25g", seconds=seconds, peak_bytes=peak_bytes
    )


QUICK = (
    _busy("1 GiB, 1 M writes/s, 25 Gbit/s", GIB),
    _busy("16 GiB, 1 M writes/s, 25 Gbit/s", 16 * GIB),
)
CASES = (
    *QUICK,
    _busy("64 GiB, 1 M writes/s, 25 Gbit/s", 64 * GIB),
    _busy("1 TiB, 1 M writes/s, 25 Gbit/s", _TIB, seconds=10.0, peak_bytes=300e6),
    Guest(name="24 TiB, 100 k writes/s in 100 GiB, 100 Gbit/s", memory=24 * _TIB, rate=1e5,
          working_set=100 * GIB, link="100g", seconds=60.0, peak_bytes=4 * GIB),
)  # fmt: skip


def scale(quick: bool) -> Iterator[Row]:
    """Migrate the guests, each in a process of its own, so that its peak memory is its own."""
    yield from rows(QUICK if quick else CASES)


def rows(guests: Sequence[Guest]) -> Iterator[Row]:
    """Measure pre-copies of ``guests``."""
    small = _busy("1 MiB", MIB).task()
    in_child({"task": small})  # compiles what there is to compile
    base = in_child({"task": small})
    yield _row("a guest of 1 MiB", base, "peak resident memory", base.peak_bytes, "bytes")
    for guest in guests:
        found = in_child({"task": guest.task()})
        if found.error:
            yield _row(guest.name, found, "real time", None, "s")
            continue
        yield from _rows(guest, found, base.peak_bytes)


def _rows(guest: Guest, found: Measured, base: float) -> Iterator[Row]:
    told, name = found.told, guest.name
    yield _row(name, found, "real time", found.seconds, "s", beside="virtual time",
               reference=told["virtual_seconds"], target=_most(guest.seconds))  # fmt: skip
    yield _row(name, found, "pages sent per real second", told["pages_sent"] / found.seconds, "1/s")
    yield _row(name, found, "accesses per real second", told["accesses"] / found.seconds, "1/s")
    yield _row(name, found, "peak resident memory", found.peak_bytes, "bytes",
               target=_most(guest.peak_bytes))  # fmt: skip
    more = max(0.0, found.peak_bytes - base)
    yield _row(name, found, "memory beyond that of 1 MiB", more / (guest.memory // _PAGE),
               "bytes/page")  # fmt: skip


def _most(bound: float | None) -> Target | None:
    return None if bound is None else Target(most=bound)


def _row(
    case: str, found: Measured, quantity: str, value: float | None, unit: Any, **more: Any
) -> Row:
    return Row(
        section="scale", case=case, quantity=quantity, value=value, unit=unit, note=found.error,
        details=dict(found.told), **more,
    )  # fmt: skip
