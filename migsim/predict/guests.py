"""The guest of a prediction: a recording or a dirty-rate curve, turned into a workload."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from migsim.build import build_workload
from migsim.errors import InputError
from migsim.machine import VirtualMachine
from migsim.parameters import Context, convert_all
from migsim.predict.curves import Curve
from migsim.registry import find, trace_path
from migsim.trace.format import read_trace
from migsim.units import format_seconds, format_size

__all__ = ["Guest", "from_curve", "from_trace"]


_CONTENT = (
    "a curve does not say what pages hold and what writes change, on which deltas and compression "
    "depend: the defaults are taken, unless -w content and -w write_bytes tell"
)

_CURVE_VARIES = (
    "which pages the guest happens to write (seeds); not how its load varies over time, nor the "
    "curve's own error"
)
_MOST_ACCESSES = 10**7


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


def from_curve(name: str, curve: Curve, vm: VirtualMachine, given: Mapping[str, str]) -> Guest:
    """Return a guest that dirties as many different pages within each time as the curve says.

    A slower guest takes longer for the same. Measured by sampling, a curve may fall by chance; what
    was dirty within a time is so within a longer one, so that the curve is kept from falling.
    Raises `InputError` where it does not fit into the memory that is not zero.
    """
    if curve.page_size != vm.page_size:
        raise InputError(
            f"{name} counts pages of {format_size(curve.page_size)}, "
            f"but those of the guest have {format_size(vm.page_size)}"
        )
    if "curve" in given:
        raise InputError("-w: curve is set by predict itself")
    room = vm.memory - vm.zero_bytes
    most = max(size for _, size in curve.points)
    if most > room:
        raise InputError(
            f"{name} has {format_size(most)} dirtied, but only {format_size(room)} of the guest's "
            f"{format_size(vm.memory)} are not zero"
        )
    pages = itertools.accumulate((size / vm.page_size for _, size in curve.points), max)
    points = [(time, n) for (time, _), n in zip(curve.points, pages, strict=True) if n >= 1]

    if not points:
        return Guest(name, "idle", lambda speed: given, _CURVE_VARIES, (f"{name} is idle",))

    def arguments(speed: float) -> dict[str, Any]:
        text = " ".join(f"{time / speed!r}:{n:.0f}" for time, n in points)
        return {"working_set": room, **given, "curve": text}

    return Guest(
        name=name,
        workload="curve",
        arguments=arguments,
        varies=_CURVE_VARIES,
        notes=(
            f"the curve is followed within {100 * _misfit(points, arguments(1.0), vm):.0f} %; what "
            f"is dirtied within more than its {format_seconds(curve.longest)} is extrapolated",
            *(() if {"content", "write_bytes"} & set(given) else (_CONTENT,)),
        ),
    )


def _misfit(
    points: list[tuple[float, float]], arguments: Mapping[str, Any], vm: VirtualMachine
) -> float:
    """Return by how much the guest misses the curve where it does most, as a share.

    It is made of parts that write at random, which cannot follow every curve. Windows in which it
    writes very much are not looked at: that would take longer than a migration.
    """
    plugin = find("workload", "curve")
    own = {name for name in arguments if name in {p.name for p in plugin.parameters}}
    values = convert_all(
        "workload 'curve'",
        plugin.parameters,
        {name: arguments[name] for name in own},
        Context(vm.page_size, vm.memory),
    )
    workload = build_workload(plugin, values, vm, seed=1)
    worst = 0.0
    for time, wanted in points:
        count = workload.index(time)
        if count > _MOST_ACCESSES:
            break
        pages = np.empty(count, np.int64)
        workload.accesses(0, pages, np.empty(count))
        written = np.zeros(vm.pages, bool)
        written[pages[pages >= 0]] = True
        worst = max(worst, abs(int(written.sum()) - wanted) / wanted)
    return worst
