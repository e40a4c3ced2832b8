"""The figures of what was predicted against what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from migsim.plotting.scatter import Points, predicted_figure
from migsim.plotting.style import PAGE
from migsim.validate.errors import Prediction, measured_value
from migsim.validate.qemu import family
from migsim.validate.tcp import TOLERANCES, Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from migsim.hypervisor.runs import RecordedRun

__all__ = ["draw_points", "qemu_figure", "qemu_points", "tcp_figure", "tcp_points"]

Panels = dict[str, dict[str, Points]]
"""Panel -> kind -> what is drawn of it."""

_QUANTITIES = {
    "total": ("total time (s)", 1.0),
    "bytes": ("bytes sent (MB)", 1e-6),
    "downtime": ("downtime (ms)", 1e3),
}
"""What of a run is drawn: its name with its unit, and the factor to that unit."""


def qemu_points(found: Iterable[tuple[RecordedRun, Prediction]]) -> Panels:
    """Return total time, bytes and downtime of recorded runs, measured and predicted.

    A run of which either is not known, or is nothing, is left out.
    """
    panels: Panels = {}
    for name, (text, factor) in _QUANTITIES.items():
        kinds = panels.setdefault(text.partition(" (")[0], {})
        for run, said in found:
            points = kinds.setdefault(family(run), Points())
            theirs, ours = measured_value(run.measured, name), getattr(said, name)
            if theirs and ours:
                points.measured.append(factor * theirs)
                points.predicted.append(factor * ours)
    return panels


def tcp_points(sets: Mapping[str, Sequence[Comparison]]) -> Panels:
    """Return the throughputs that Linux reached, and those predicted."""
    panels: Panels = {}
    for name, found in sets.items():
        kinds = panels.setdefault(name, {})
        for kind, tolerance in TOLERANCES.items():
            points = kinds.setdefault(f"{kind} ({tolerance:.0%})", Points())
            for item in (item for item in found if item.row.kind == kind):
                points.measured.append(item.row.mean_mbps)
                points.predicted.append(item.mean_mbps)
                points.spread.append((item.row.low_mbps, item.row.high_mbps))
    return panels


def _draw_qemu(panels: Panels, width: float) -> Figure:
    titles = [f"measured ({text.partition(' (')[2]}" for text, _ in _QUANTITIES.values()]
    return predicted_figure(panels, x_titles=titles, title="Migrations of a real QEMU", width=width)


def _draw_tcp(panels: Panels, width: float) -> Figure:
    return predicted_figure(
        panels,
        x_titles=["measured on Linux (Mbit/s)"] * len(panels),
        title="TCP: the model against Linux 6.18",
        legend_title="kind (tolerance); bars: least and greatest run",
        width=width,
    )


_DRAWN = {"qemu": _draw_qemu, "tcp": _draw_tcp}


def draw_points(name: str, points: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Return the figure of a validation whose points are plain JSON values.

    ``name`` is ``qemu`` or ``tcp``; ``points`` are what `qemu_points` or `tcp_points` returned, as
    mappings.
    """
    panels = {
        panel: {kind: Points(**values) for kind, values in kinds.items()}
        for panel, kinds in points.items()
    }
    return _DRAWN[name](panels, PAGE)


def qemu_figure(found: Sequence[tuple[RecordedRun, Prediction]], width: float = PAGE) -> Figure:
    """Return total time, bytes and downtime of recorded runs against those predicted.

    ``width`` in inches.
    """
    return _draw_qemu(qemu_points(found), width)


def tcp_figure(sets: Mapping[str, Sequence[Comparison]], width: float = PAGE) -> Figure:
    """Return the throughputs that Linux reached against those predicted. ``width`` in inches."""
    return _draw_tcp(tcp_points(sets), width)
