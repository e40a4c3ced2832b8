"""The parts of the benchmarks by name, and the machine that they were run on."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

from migsim.bench.rows import Section
from migsim.errors import InputError, did_you_mean
from migsim.workers import default_workers

__all__ = ["SECTIONS", "chosen", "machine", "section"]

SECTIONS = {
    "replay": "Accesses replayed a second, beside a bare loop that sets the same random bits.",
    "scale": "Page-exact pre-copies from 1 GiB to 24 TiB: real time and memory.",
    "numpy": "The same rules in NumPy.",
    "simgrid": "SimGrid's live-migration plugin on the same grid.",
    "start-up": "Import, help, first migration: whole processes.",
    "sweep": "Tasks a second on one processor and on all.",
    "pieces": "TCP transfers, post-copy, XBZRLE of a large guest.",
}
"""Name -> what is measured, in the order in which it is."""

_HOMES = {
    "replay": "replay:replay",
    "scale": "scale:scale",
    "numpy": "rivals:numpy",
    "simgrid": "simgrid:simgrid",
    "start-up": "startup:startup",
    "sweep": "sweeping:sweep",
    "pieces": "pieces:pieces",
}


def chosen(names: Sequence[str]) -> list[str]:
    """Return the sections of these names in their usual order, all where there are none.

    Raises `InputError` for a name that is none.
    """
    for name in names:
        if name not in SECTIONS:
            raise InputError(f"there is no section '{name}', {did_you_mean(name, SECTIONS)}")
    return [name for name in SECTIONS if name in names or not names]


def section(name: str) -> Section:
    """Return the function that measures a section; what it needs is imported only now."""
    module, _, function = _HOMES[name].partition(":")
    found: Section = getattr(importlib.import_module(f"migsim.bench.{module}"), function)
    return found


def machine() -> dict[str, str]:
    """Return what figures depend on beside the code: processor, cores, versions."""
    return {
        "processor": _processor(),
        "cores": str(default_workers()),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numba", "numpy")},
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            names = (line.partition(":")[2] for line in file if line.startswith("model name"))
            return " ".join(next(names, "").split()) or platform.machine()
    except OSError:
        return platform.machine()
