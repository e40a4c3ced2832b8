"""Gangs of idle guests on KVM: Deshpande, Wang and Gopalan, HPDC 2011.

All guests of a host of 1 GB each migrate at the same time to one other host over Gigabit Ethernet;
the figure is when the last has arrived. Without optimisation nothing is set: the link is that of
the single guests in `gopalan`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from migsim.fleet.together import run_together
from migsim.task import Task
from migsim.validate.published.check import Check

__all__ = ["CHECKS"]

_PLAIN = {3: 28.8, 6: 56.6, 9: 84.2, 15: 140.6, 24: 228.7}
"""Guests -> seconds, every page sent as it is."""


@functools.cache
def _plain_total(guests: int) -> float:
    """Return when the last guest has arrived."""
    tasks = [
        Task(algorithm="precopy", workload="idle", link="gigabit", memory="1GiB", seed=number)
        for number in range(guests)
    ]
    return max(member.ended for member in run_together([task.resolve() for task in tasks]))


def _plain() -> Iterator[Check]:
    for guests, seconds in _PLAIN.items():
        yield Check(
            name=f"deshpande-gang-{guests}-total",
            source="Deshpande 2011, gangs of idle guests",
            claim=f"KVM's pre-copy of {guests} guests of 1 GB at a time: until the last is there",
            published=seconds,
            predict=functools.partial(_plain_total, guests),
            tolerance=0.05,
        )


CHECKS = (*_plain(),)
