"""The engine beside NumPy: the same rules, vectorised a round or a batch of pages at a time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import numpy as np

from migsim._kernels.xbzrle import encode_pages
from migsim.bench import numpy_xbzrle
from migsim.bench.cases import LARGE, Case, versions
from migsim.bench.measure import best, in_child
from migsim.bench.rows import Row, Target
from migsim.units import GIB

__all__ = ["encodings", "numpy", "precopies"]

_TENTH = Target(most=0.1, of_ratio=True)
_CASES = {
    "pre-copy of 64 GiB, 100 k writes/s in 16 GiB, 10 Gbit/s": LARGE,
    "pre-copy of 64 GiB, 100 k writes/s in 64 GiB, 10 Gbit/s": Case(64 * GIB, 64 * GIB, 1e5, "10g"),
    "pre-copy of 4 GiB, 1 M writes/s in 1 GiB, 10 Gbit/s": Case(4 * GIB, GIB, 1e6, "10g"),
    "pre-copy of 1/4 GiB, 10 M writes/s in it, 1 Gbit/s": Case(
        GIB // 4, GIB // 4, 1e7, "gigabit", max_rounds=3
    ),
}


def numpy(quick: bool) -> Iterator[Row]:
    """Measure pre-copies, their memory, and XBZRLE's encoding, by the engine and by NumPy."""
    names = list(_CASES)[-2:] if quick else list(_CASES)
    yield from precopies({name: _CASES[name] for name in names}, runs=3)
    if not quick:
        yield from _memory()
    yield from encodings(2048 if quick else 16_384, runs=3 if quick else 5)


def precopies(cases: Mapping[str, Case], *, runs: int) -> Iterator[Row]:
    """Measure the same pre-copies both ways."""
    for name, case in cases.items():
        ours, rival = best(case.engine, case.numpy, runs=runs)
        result = case.engine().result
        yield Row(
            section="numpy", case=name, quantity="real time", value=ours, unit="s",
            beside="NumPy", reference=rival, target=_TENTH,
            details={"accesses": result.accesses, "pages_sent": result.pages_sent},
        )  # fmt: skip


def _memory() -> Iterator[Row]:
    """Measure the peak memory of the large case both ways, each in a process of its own."""
    fields = dataclasses.asdict(LARGE)
    task = {
        "algorithm": "precopy",
        "workload": "uniform",
        "link": LARGE.link,
        "memory": LARGE.memory,
        "workload_args": {"working_set": LARGE.working_set, "rate": LARGE.rate},
    }
    ours, rival = in_child({"task": task}), in_child({"numpy": fields})
    yield Row(
        section="numpy", case=next(iter(_CASES)), quantity="peak resident memory",
        value=ours.peak_bytes or None, unit="bytes", beside="NumPy", reference=rival.peak_bytes,
        note=ours.error or rival.error,
    )  # fmt: skip


def encodings(pages: int, *, runs: int) -> Iterator[Row]:
    """Measure XBZRLE of random pages of which 1 to 100 words have changed."""
    for words in (1, 10, 100):
        old, new = versions(words, pages)
        room, sizes = np.empty(4096, np.uint8), np.empty(pages, np.int64)
        ours, rival = best(
            functools.partial(encode_pages, old, new, room, sizes),
            functools.partial(numpy_xbzrle.encode, old, new),
            runs=runs,
        )
        yield Row(
            section="numpy", case=f"XBZRLE of pages with {words} changed words",
            quantity="encoded", value=new.nbytes / ours, unit="bytes/s", beside="NumPy",
            reference=new.nbytes / rival,
        )  # fmt: skip
