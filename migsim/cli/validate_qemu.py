"""``migsim validate qemu``: predictions beside recorded migrations of a real QEMU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.outputs import check_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from migsim.hypervisor.runs import RecordedRun
    from migsim.validate.errors import Prediction, Summary

    Pair = tuple[RecordedRun, Prediction]

__all__ = ["qemu"]

_TOLERANCES = {
    "rounds": ("one", "within_one"),
    "downtime": ("20 ms or 25 %", "within_20_ms_or_25_percent"),
    "postcopy_requests": ("30 %", "within_30_percent"),
}
"""What is claimed of a quantity: as a text, and the key of a summary."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@click.command()
@click.option(
    "--runs",
    "file",
    type=Path,
    metavar="FILE",
    help="Recorded runs of your own: JSON Lines as in migsim/data/qemu-runs, or a report of QEMU's "
    "guestperf.  [default: the committed ones]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw predicted against measured.")
def qemu(file: Path | None, as_json: bool, plot: Path | None) -> None:
    """Predict recorded migrations of QEMU from their inputs alone, and show the errors."""
    from migsim.hypervisor.runs import read_runs
    from migsim.validate.qemu import RUNS, is_calibration, predict_all

    check_figure("--plot", plot)
    runs = [run for path in (RUNS if file is None else [file]) for run in read_runs(path)]
    found = list(zip(runs, predict_all(runs), strict=True))
    fitted = [pair for pair in found if is_calibration(pair[0])] if file is None else []
    others = [pair for pair in found if pair not in fitted]
    if plot is not None:
        from migsim.plotting import save_figure

        save_figure(_figure(others), plot)
    if as_json:
        print(json.dumps(_as_json(others, fitted), indent=2))
        return
    _print_runs(found)
    if fitted:
        _print_summary(f"{len(fitted)} runs on which constants were fitted", fitted)
    _print_summary(f"{len(others)} runs that no constant was fitted on", others)


def _as_json(others: Sequence[Pair], fitted: Sequence[Pair]) -> dict[str, Any]:
    import dataclasses

    import msgspec

    return {
        "summary": _summary(others),
        "calibration": _summary(fitted),
        "runs": [
            {
                "name": run.name,
                "repeat": run.repeat,
                "calibration": (run, said) in fitted,
                "inputs": {name: msgspec.to_builtins(getattr(run, name)) for name in run.uses},
                "predicted": dataclasses.asdict(said),
                "measured": msgspec.to_builtins(run.measured),
            }
            for run, said in [*others, *fitted]
        ],
    }


def _summary(pairs: Sequence[Pair]) -> Summary:
    from migsim.validate.errors import summarise

    return summarise((said, run.measured) for run, said in pairs)


def _print_runs(found: Sequence[Pair]) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("run", "total", "error", "GB sent", "error", "downtime", "predicted", "rounds",
                  "predicted", "requests", "predicted"):  # fmt: skip
        table.add_column(title, justify="left" if title == "run" else "right", no_wrap=True)
    ends = {True: "ends", False: "does not end", None: ""}
    for run, said in found:
        name, completed = f"{run.name} #{run.repeat}", run.measured.status == "completed"
        if not said.converged or not completed:
            table.add_row(name, ends[completed], f"predicted: {ends[said.converged]}")
            continue
        table.add_row(
            name,
            f"{run.measured.total_seconds:.2f} s",
            _error(said, run, "total", 1),
            f"{run.measured.transferred_bytes / 1e9:.3f}",
            _error(said, run, "bytes", 2),
            *_values(said, run, "downtime", 1e3, " ms"),
            *_values(said, run, "rounds"),
            *_values(said, run, "postcopy_requests"),
        )
    print_whole(console, table)
    console.print()


def _error(said: Prediction, run: RecordedRun, name: str, digits: int) -> str:
    from migsim.validate.errors import measured_value

    ours, theirs = getattr(said, name), measured_value(run.measured, name)
    return f"{ours / theirs - 1:+.{digits}%}" if ours is not None and theirs else ""


def _values(
    said: Prediction, run: RecordedRun, name: str, factor: float = 1.0, unit: str = ""
) -> tuple[str, str]:
    from migsim.validate.errors import measured_value

    ours, theirs = getattr(said, name), measured_value(run.measured, name)
    if ours is None or theirs is None:
        return "", ""
    return f"{theirs * factor:.0f}{unit}", f"{ours * factor:.0f}{unit}"


def _print_summary(title: str, pairs: Sequence[Pair]) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.validate.errors import QUANTITIES

    summary = _summary(pairs)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("errors of", "runs", "median", "90 % below", "worst", "tolerance", "within"):
        table.add_column(heading, justify="left" if heading == "errors of" else "right")
    for name in QUANTITIES:
        row = summary[name]
        if not row["count"]:
            continue
        tolerance, key = _TOLERANCES.get(name, ("", ""))
        table.add_row(
            name.replace("_", " "),
            str(row["count"]),
            *(_share(row[part]) for part in ("median", "p90", "worst")),
            tolerance,
            _share(row[key], 0) if key else "",
        )
        if name == "downtime":
            seconds = [row[f"{part}_seconds"] or 0.0 for part in ("median", "p90", "worst")]
            table.add_row("", "", *(f"{1e3 * value:.0f} ms" for value in seconds), "", "")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    verdicts = summary["convergence"]
    console.print(f"verdicts of convergence: {verdicts['right']} of {verdicts['count']} right\n")


def _share(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}%}"


def _figure(found: Sequence[Pair]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    from migsim.plotting import OKABE_ITO, use_style
    from migsim.validate.errors import measured_value
    from migsim.validate.qemu import family

    use_style()
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    panels = {
        "total": ("total time (s)", 1.0),
        "bytes": ("bytes sent (MB)", 1e-6),
        "downtime": ("downtime (ms)", 1e3),
    }
    kinds = list(dict.fromkeys(family(run) for run, _ in found))
    grid = figure.subplots(1, len(panels))
    for axes, (name, (label, factor)) in zip(grid, panels.items(), strict=True):
        seen: list[float] = []
        for k, kind in enumerate(kinds):
            values = [
                (measured_value(run.measured, name), getattr(said, name))
                for run, said in found
                if family(run) == kind
            ]
            points = [(factor * x, factor * y) for x, y in values if x and y]
            seen += [value for point in points for value in point]
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                _MARKERS[k % len(_MARKERS)],
                label=kind,
                color=OKABE_ITO[k % len(OKABE_ITO)],
                markersize=5,
                alpha=0.8,
            )
        ends = (0.8 * min(seen, default=1.0), 1.25 * max(seen, default=10.0))
        axes.plot(ends, ends, color="0.4", linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"measured {label}")
        axes.set_ylabel("predicted")
    handles, titles = grid[0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle("Migrations of a real QEMU", fontsize="large", fontweight="bold")
    return figure
