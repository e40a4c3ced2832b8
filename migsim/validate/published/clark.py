"""Clark et al., "Live Migration of Virtual Machines", NSDI 2005 (Xen).

Xen's Mbit/s are 2**20 bit/s and its MB 2**20 bytes. The figures were digitised, to about 0.5 % of
their axes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from migsim.simulate import Outcome, migrate
from migsim.units import MIB
from migsim.validate.published.check import Check

__all__ = ["CHECKS", "CURVES"]

_MEGABIT = MIB / 8
_PAGE = 4096
_BARE = {"device_state": 0, "resume_seconds": 0, "sync_seconds_per_gib": 0}


def _plain_link(megabits: int) -> dict[str, Any]:
    return {"rate": megabits * _MEGABIT, "rtt": 0, "overhead": 0}


# ---- stop-and-copy, and the downtime after 1 to 4 rounds (sec. 4, figs. 3 to 6) -----------------

CURVES = {
    "kernel": ".214s:3109 .492s:4205 .975s:5469 1.49s:6057 1.94s:6126 8s:8000 16s:8000 32s:8000",
    "oltp": ".106s:1624 .248s:1811 .506s:2336 1s:2954 2s:4066 8s:8200 16s:8200 32s:8200",
    "quake": ".02s:295 .09s:295 .158s:313 .316s:353 8s:1295 16s:1295 32s:1295",
    "spec": ".684s:10227 .827s:11200 1.45s:13554 2s:14781 2.88s:16377 4.77s:19261 5.73s:20515 "
    "8s:23600 16s:23600 32s:23600",
}
"""Pages dirtied in a window, as the medians of figs. 3 to 6 imply.

The authors' traces were cleared every 8 s, so that longer windows find no more than that.
"""
_TITLES = {
    "kernel": "kernel compile",
    "oltp": "OLTP",
    "quake": "Quake 3",
    "spec": "SPECweb99",
}
_FIGURES = {"kernel": 3, "oltp": 4, "quake": 5, "spec": 6}
_MEDIANS = {  # seconds of downtime after 1, 2, 3, 4 rounds
    ("kernel", 128): (1.941, 1.496, 1.489, 1.479),
    ("kernel", 512): (0.492, 0.257, 0.214, 0.190),
    ("oltp", 128): (1.998, 0.993, 0.708, 0.617),
    ("oltp", 512): (0.506, 0.143, 0.106, 0.099),
    ("quake", 128): (0.316, 0.086, 0.073, 0.073),
    ("quake", 512): (0.079, 0.019, 0.018, 0.018),
    ("spec", 128): (5.730, 5.009, 4.772, 4.702),
    ("spec", 512): (1.447, 0.827, 0.684, 0.624),
}


def _stop_and_copy(megabits: int) -> float:
    outcome = migrate(
        "stop_and_copy", "idle", "custom", memory="512MiB", link_args=_plain_link(megabits)
    )
    return outcome.result.downtime_seconds


def _downtime_after(rounds: int, guest: str, megabits: int) -> float:
    return migrate(
        "precopy",
        "curve",
        "custom",
        memory="512MiB",
        algorithm_args={"max_downtime": 0, "max_rounds": rounds},
        workload_args={"curve": CURVES[guest]},
        link_args=_plain_link(megabits),
        vm_args=_BARE,
    ).result.downtime_seconds


def _medians() -> Iterator[Check]:
    for (guest, megabits), medians in _MEDIANS.items():
        for rounds, median in enumerate(medians, 1):
            yield Check(
                name=f"clark-{guest}-{megabits}-{rounds}",
                source=f"Clark 2005, fig. {_FIGURES[guest]}",
                claim=f"{_TITLES[guest]}, {megabits} Mbit/s: downtime after {rounds} "
                f"round{'s' if rounds > 1 else ''}",
                published=median,
                predict=functools.partial(_downtime_after, rounds, guest, megabits),
                kind="calibrated",
                tolerance=0.15 if guest == "oltp" and rounds >= 3 else 0.10,
                free="W(t) from the medians of the same figure, both rates together",
            )


# ---- adaptive rate: SPECweb99 and Quake 3 (sec. 6.3 and 6.4, figs. 9 and 11) --------------------

_SPEC_ROUNDS = (  # seconds, Mbit/s dirtied
    (54.1, 25.5), (10.13, 62.0), (3.11, 139.0), (1.20, 257.0), (0.63, 329.0),
)  # fmt: skip
# Of the last three rounds, 0.32 to 0.39 s long, the shortest dirtied most: one window stands for
# them all.
_SPEC_LAST = (0.35, (0.39 * 453.0 + 0.32 * 590.0 + 0.34 * 439.0) / (3 * 0.35))
_QUAKE_ENDS = (4.52, 6.15, 6.50, 6.63, 6.72, 6.80, 6.85, 6.90, 6.92, 6.94)  # seconds
_QUAKE_RATES = (43, 23, 39, 78, 89, 129, 284, 134, 87, 52)  # 10**6 bit/s dirtied


@functools.cache
def _specweb() -> Outcome:
    rounds = sorted([*_SPEC_ROUNDS, _SPEC_LAST])
    points = [f"{length}s:{length * rate * _MEGABIT / _PAGE:.0f}" for length, rate in rounds]
    return migrate(
        "xen", "curve", "gigabit", memory="800MiB",
        workload_args={"curve": " ".join(points)}, vm_args={"resume_seconds": 0.009},
    )  # fmt: skip


@functools.cache
def _quake() -> Outcome:
    phases = []
    for start, end, rate in zip((0.0, *_QUAKE_ENDS), _QUAKE_ENDS, _QUAKE_RATES, strict=False):
        length = f"{end - start:.2f}s"
        pages = (end - start) * rate * 1e6 / 8 / _PAGE
        phases.append(f"{length} curve(curve={length}:{pages:.0f})")
    return migrate(
        "xen", "phases", "gigabit", memory="64MiB",
        workload_args={"schedule": "; ".join([*phases, "1000s idle"])},
        vm_args={"resume_seconds": 0.040},
    )  # fmt: skip


def _total(outcome: Outcome) -> float:
    """Return the seconds up to the first instruction at the destination."""
    return outcome.result.total_seconds


def _downtime(outcome: Outcome) -> float:
    return outcome.result.downtime_seconds


def _sent(outcome: Outcome) -> float:
    """Return the bytes of pages, which is what the figures count."""
    return outcome.result.pages_sent * float(_PAGE)


def _sent_paused(outcome: Outcome) -> float:
    *_, last = (event for event in outcome.timeline if event.act == "send")
    return last.pages * float(_PAGE)


_SPEC_FREE = "W(t) from the dirty rates of fig. 9; 9 ms to start (the text)"
_QUAKE_FREE = "dirty rates over time from fig. 11; 40 ms to start (the text)"

_RUNS = [
    Check(
        name="clark-specweb-total",
        source="Clark 2005, fig. 9",
        claim="SPECweb99, adaptive rate: total time",
        published=71.0,
        predict=lambda: _total(_specweb()),
        kind="calibrated",
        tolerance=0.05,
        free=_SPEC_FREE,
    ),
    Check(
        name="clark-specweb-sent",
        source="Clark 2005, fig. 9",
        claim="SPECweb99, adaptive rate: pages sent",
        unit="bytes",
        published=960.0 * MIB,
        predict=lambda: _sent(_specweb()),
        kind="calibrated",
        tolerance=0.05,
        free=_SPEC_FREE,
    ),
    Check(
        name="clark-specweb-last",
        source="Clark 2005, fig. 9",
        claim="SPECweb99, adaptive rate: sent while paused",
        unit="bytes",
        published=18.2 * MIB,
        predict=lambda: _sent_paused(_specweb()),
        kind="calibrated",
        tolerance=0.25,
        free=_SPEC_FREE,
    ),
    Check(
        name="clark-specweb-downtime",
        source="Clark 2005, fig. 9",
        claim="SPECweb99, adaptive rate: downtime",
        published=0.210,
        predict=lambda: _downtime(_specweb()),
        kind="miss",
        tolerance=0.40,
        free=_SPEC_FREE,
        note="18.2 MB in 201 ms are 724 Mbit/s, more than the limit of 500 that the text names and "
        "we keep; and by its rule rounds end at 450 Mbit/s dirtied, which the run passed by",
    ),
    Check(
        name="clark-quake-total",
        source="Clark 2005, fig. 11",
        claim="Quake 3, adaptive rate: total time",
        published=6.96 + 0.04,
        predict=lambda: _total(_quake()),
        kind="calibrated",
        tolerance=0.10,
        free=_QUAKE_FREE,
    ),
    Check(
        name="clark-quake-sent",
        source="Clark 2005, fig. 11",
        claim="Quake 3, adaptive rate: pages sent",
        unit="bytes",
        published=88.0 * MIB,
        predict=lambda: _sent(_quake()),
        kind="calibrated",
        tolerance=0.10,
        free=_QUAKE_FREE,
    ),
    Check(
        name="clark-quake-downtime",
        source="Clark 2005, fig. 11",
        claim="Quake 3, adaptive rate: downtime",
        published=0.060,
        predict=lambda: _downtime(_quake()),
        kind="miss",
        tolerance=0.20,
        free=_QUAKE_FREE,
        note="their last 148 KB took 20 ms, which are 60 Mbit/s; at the limit of 500 they take 2.4",
    ),
]

CHECKS = (
    *(
        Check(
            name=f"clark-stop-and-copy-{megabits}",
            source="Clark 2005, sec. 4",
            claim=f"stop-and-copy of 512 MB at {megabits} Mbit/s: downtime",
            published=seconds,
            predict=functools.partial(_stop_and_copy, megabits),
            tolerance=0.01,
        )
        for megabits, seconds in ((128, 32.0), (256, 16.0), (512, 8.0))
    ),
    *_medians(),
    *_RUNS,
)
