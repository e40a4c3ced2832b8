"""Gangs of idle guests on KVM: Deshpande, Wang and Gopalan, HPDC 2011.

All guests of a host, of 1 GB each, migrate at the same time to one other host over Gigabit
Ethernet; the figure is when the last has arrived. Without optimisation nothing is set: the link is
that of the single guests in `gopalan`, and so is the time to find a page of one byte.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from migsim.fleet.together import run_together
from migsim.gang import Gang
from migsim.task import Task
from migsim.validate.published.check import Check
from migsim.validate.published.gopalan import SCAN

__all__ = ["CHECKS"]

_SECONDS = {  # guests -> every page as it is; without pages of one byte; with deduplication
    3: (28.8, 10.2, 7.3),
    6: (56.6, 20.9, 14.2),
    9: (84.2, 32.6, 19.2),
    15: (140.6, 52.2, 31.1),
    24: (228.7, 84.8, 48.0),
}
_UNIFORM = 0.616
"""Share of pages of one byte: from 24 guests without them."""
_IMAGE = "181MiB"
"""Of each guest, what all have in common: from 24 guests with deduplication."""
_TICK = 0.1
"""Seconds after which guests learn what others have sent: some hundred pages of theirs."""


def _total(guests: int, algorithm: str, uniform: float, image: str | int, tick: float) -> float:
    """Return when the last guest has arrived.

    What pages have in common within a guest is part of what is common to all: one figure cannot
    tell the two apart.
    """
    tasks = [
        Task(
            algorithm=algorithm,
            workload="idle",
            link="gigabit",
            memory="1GiB",
            seed=number,
            workload_args={"image": image, "duplicate_fraction": 0.0},
            vm_args={"zero_fraction": uniform, "zero_page_seconds": SCAN},
        ).resolve()
        for number in range(guests)
    ]
    return max(member.ended for member in run_together(tasks, gang=Gang(), tick=tick))


def _checks() -> Iterator[Check]:
    for guests, (plain, without_uniform, deduplicated) in _SECONDS.items():
        source, gang = "Deshpande 2011, gangs of idle guests", f"{guests} guests of 1 GB at a time"
        yield Check(
            name=f"deshpande-gang-{guests}-total",
            source=source,
            claim=f"KVM's pre-copy of {gang}: until the last is there",
            published=plain,
            predict=functools.partial(_total, guests, "precopy", 0.0, 0, 0.01),
            tolerance=0.05,
        )
        yield Check(
            name=f"deshpande-gang-{guests}-uniform-total",
            source=source,
            claim=f"the same of {guests} without pages of one byte",
            published=without_uniform,
            predict=functools.partial(_total, guests, "precopy", _UNIFORM, 0, 0.01),
            kind="calibrated",
            tolerance=0.10,
            free="61.6 % such pages, from 24 guests; 3 us to find one, from single guests",
        )
        yield Check(
            name=f"deshpande-gang-{guests}-dedup-total",
            source=source,
            claim=f"the same of {guests}, with deduplication across guests",
            published=deduplicated,
            predict=functools.partial(_total, guests, "dedup", _UNIFORM, _IMAGE, _TICK),
            kind="calibrated",
            tolerance=0.10,
            free="61.6 % pages of one byte, from 24 guests without them; 181 MiB that all guests "
            "have in common, from 24 guests with deduplication; 3 us from single guests",
        )


CHECKS = (*_checks(),)
