"""Small builders that several test modules use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from migsim import Link, Migration, VirtualMachine
from migsim.network.link import PRESETS
from migsim.registry import find
from migsim.simulate import Outcome
from migsim.trace.format import Trace, write_trace

ROOT = Path(__file__).resolve().parent.parent
PAGE = 4096


def preset(name: str, **changes: Any) -> Link:
    return Link(**{**PRESETS[name][1], **changes})


def machine(pages: int, **changes: Any) -> VirtualMachine:
    page_size = changes.get("page_size", PAGE)
    plain = {"device_state": 0, "resume_seconds": 0.0, "sync_seconds_per_gib": 0.0}
    return VirtualMachine(memory=pages * page_size, **{**plain, **changes})


class Listed:
    """A workload that is given as a list of (guest time, page, is a write), sorted by time."""

    def __init__(self, accesses: Sequence[tuple[float, int, bool]], pages: int) -> None:
        self.listed = list(accesses)
        self.pages = pages
        self._times = np.array([time for time, _, _ in self.listed], np.float64)
        self._pages = np.array(
            [page if write else ~page for _, page, write in self.listed], np.int64
        )

    def index(self, guest_time: float) -> int:
        return int(np.searchsorted(self._times, guest_time, side="left"))

    def accesses(self, first: int, pages: np.ndarray, times: np.ndarray) -> None:
        pages.fill(0)
        times.fill(np.inf)
        known = slice(first, first + pages.size)
        count = self._pages[known].size
        pages[:count], times[:count] = self._pages[known], self._times[known]


def migration(
    accesses: Sequence[tuple[float, int, bool]] = (),
    pages: int = 256,
    link: Link | None = None,
    **vm: Any,
) -> Migration:
    """Return a handle over a small guest that makes the given accesses."""
    shape = machine(pages, **vm)
    return Migration(shape, Listed(accesses, pages), link or preset("gigabit"))


def row_text(outcome: Outcome) -> str:
    """Return everything an outcome says, as text in which every bit of every float shows."""
    events = [list(vars(event).values()) for event in outcome.timeline]
    latencies = outcome.fault_latencies.tolist()
    return json.dumps([outcome.result.as_dict(), events, latencies], sort_keys=True)


def python(code: str, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """Run ``code`` in a fresh interpreter that finds migsim; return what it prints."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def small_trace(path: Path, pages: int = 200, intervals: int = 100) -> Path:
    """Write a trace of 10 ms intervals in which a few random pages are written."""
    draw = np.random.default_rng(1)
    sets = [
        np.sort(draw.choice(pages, draw.integers(0, 60), replace=False)) for _ in range(intervals)
    ]
    write_trace(
        path,
        Trace(
            ends=np.arange(1, intervals + 1) / 100,
            counts=np.array([len(one) for one in sets], np.uint32),
            pages=np.concatenate(sets).astype(np.uint32),
            resident=np.arange(pages, dtype=np.uint32),
            pages_total=pages,
        ),
    )
    return path


# What makes algorithms end that would otherwise go on until the guest dirties less.
ENDING: dict[str, dict[str, Any]] = {
    "cloud_hypervisor": {"timeout": "5s", "on_timeout": "ignore"},
    "qemu": {"postcopy_after": "5s"},
}


def small_arguments(workload: str, trace: Path) -> dict[str, Any]:
    """Return workload parameters that make a guest of 4 MiB busy within some ten milliseconds."""
    nested = {
        "curve": {"curve": "1ms:20,5ms:80,20ms:200", "read_fraction": 0.2},
        "trace": {"file": str(trace), "read_fraction": 0.2, "speed": 10.0},
        "phases": {
            "schedule": "10ms hotcold(rate=30000, read_fraction=0.2); 5ms sequential(rate=50000);"
            "3ms idle; 7ms uniform(rate=20000, offset=25%)"
        },
        "mix": {
            "parts": "zipf(rate=20000, read_fraction=0.5) + sequential(rate=5000, offset=50%) + "
            "phases(schedule=5ms uniform(rate=10000); 5ms idle)"
        },
    }  # fmt: skip
    if workload in nested:
        return nested[workload]
    known = {parameter.name for parameter in find("workload", workload).parameters}
    usual = {"rate": 30_000, "read_fraction": 0.25}
    return {name: value for name, value in usual.items() if name in known}
