"""The guest of a prediction: a recording or a dirty-rate curve, turned into a workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from migsim.errors import InputError
from migsim.machine import VirtualMachine
from migsim.predict.curves import Curve
from migsim.registry import trace_path
from migsim.trace.format import read_trace
from migsim.units import format_seconds, format_size

__all__ = ["Guest", "Region", "fit_regions", "from_curve", "from_trace"]


@dataclass(frozen=True)
class Guest:
    """What dirties the memory in a prediction.

    Attributes:
        name: what to call it.
        workload: the plug-in.
        arguments: returns its parameters for a guest that runs at a share of its speed.
        varies: what differs from sample to sample, and so what the intervals cover.
        notes: what the reader of a prediction has to know.
    """

    name: str
    workload: str
    arguments: Callable[[float], Mapping[str, Any]]
    varies: str
    notes: tuple[str, ...] = ()


def from_trace(file: str, given: Mapping[str, str]) -> Guest:
    """Return the guest that replays a recording; ``given`` are more parameters of the workload.

    Raises `InputError`.
    """
    if "speed" in given or "file" in given:
        raise InputError("-w: speed and file are set by predict itself")
    trace = read_trace(trace_path(file))
    if not trace.duration:
        raise InputError(f"trace {file}: it is empty")
    length = format_seconds(trace.duration)
    return Guest(
        name=f"trace {file}",
        workload="trace",
        arguments=lambda speed: {**given, "file": file, "speed": speed},
        varies=f"where in the recording of {length} the migration starts (at random)",
        notes=(f"the recording of {length} is repeated for as long as the migration takes",),
    )


@dataclass(frozen=True)
class Region:
    """Memory of which each page is written at random moments, at the same mean rate."""

    pages: int
    writes: float
    """Of all its pages together, per second."""


def from_curve(name: str, curve: Curve, vm: VirtualMachine, given: Mapping[str, str]) -> Guest:
    """Return a guest that dirties as many different pages within each time as the curve says.

    Raises `InputError` where that does not fit into the memory that is not zero.
    """
    if curve.page_size != vm.page_size:
        raise InputError(
            f"{name} counts pages of {format_size(curve.page_size)}, "
            f"but those of the guest have {format_size(vm.page_size)}"
        )
    if "parts" in given:
        raise InputError("-w: parts are set by predict itself")
    regions = fit_regions(curve, vm.pages - round(vm.zero_fraction * vm.pages))

    def arguments(speed: float) -> dict[str, Any]:
        if not regions:
            return dict(given)
        starts = np.cumsum([0, *(region.pages for region in regions)])
        return {**given, "parts": " + ".join(
            f"uniform(rate={region.writes * speed!r}, working_set={region.pages * vm.page_size}, "
            f"offset={int(start) * vm.page_size})"
            for start, region in zip(starts, regions, strict=False)
        )}  # fmt: skip

    return Guest(
        name=name,
        workload="mix" if regions else "idle",
        arguments=arguments,
        varies="which pages the guest happens to write (seeds); not how its load varies over time, "
        "nor the curve's own error",
        notes=(_quality(curve, regions, vm.page_size),),
    )


def fit_regions(curve: Curve, room: int) -> tuple[Region, ...]:
    """Return regions that together dirty as many pages within each time as the curve says.

    A region of N pages with w writes a second dirties N (1 - exp(-w t / N)) of them in t seconds;
    the sizes of the regions are found by non-negative least squares for rates on a grid. All must
    fit into ``room`` pages: where the slowest ones do not, which stand for what the curve says
    beyond its end, faster ones take their place. Raises `InputError` where none fit.
    """
    times = np.array([time for time, _ in curve.points])
    pages = np.array([size / curve.page_size for _, size in curve.points])
    if pages.max() > room:
        raise InputError(
            f"the curve has {format_size(curve.dirtied())} dirtied, but only "
            f"{format_size(room * curve.page_size)} of the memory are not zero"
        )
    scale = 1.0 / np.maximum(pages, 1.0)
    for slowest in np.geomspace(0.1, 10.0, 15) / times[-1]:
        rates = np.geomspace(slowest, max(5.0 / times[0], 2.0 * slowest), 30)
        sizes, _ = nnls(-np.expm1(-np.outer(times, rates)) * scale[:, None], pages * scale)
        if round(sizes.sum()) <= room:
            break
    else:  # what is dirtied last fills the memory
        sizes *= room / sizes.sum()
    whole = np.floor(sizes).astype(int)
    return tuple(
        Region(int(size), float(size * rate))
        for size, rate in zip(whole, rates, strict=True)
        if size > 0
    )


def _quality(curve: Curve, regions: tuple[Region, ...], page_size: int) -> str:
    worst = 0.0
    for time, size in curve.points:
        found = sum(-r.pages * np.expm1(-r.writes / r.pages * time) for r in regions) * page_size
        worst = max(worst, abs(found - size) / max(size, page_size))
    return (
        f"the curve is followed within {100 * worst:.1f} % up to its end at "
        f"{format_seconds(curve.longest)}; beyond it is extrapolation"
    )
