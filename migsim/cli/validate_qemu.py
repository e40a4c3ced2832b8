"""``migsim validate qemu``: predictions beside recorded migrations of a real QEMU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.comparison import END, both, error, share, working
from migsim.cli.outputs import check_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migsim.hypervisor.runs import RecordedRun
    from migsim.validate.errors import Claim, Prediction, Summary

    Pair = tuple[RecordedRun, Prediction]

__all__ = ["qemu"]

_TOLERANCES = {
    "rounds": ("one", "within_one"),
    "downtime": ("20 ms or 25 %", "within_20_ms_or_25_percent"),
    "postcopy_requests": ("30 %", "within_30_percent"),
}
"""What is claimed of a quantity: as a text, and the key of a summary."""


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
@click.option("--summary", "brief", is_flag=True, help="Print no single runs.")
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw predicted against measured.")
def qemu(file: Path | None, as_json: bool, brief: bool, plot: Path | None) -> None:
    """Predict recorded migrations of QEMU from their inputs alone, and show the errors.

    The constants of the host are those of the machine of the committed recordings, whoever's the
    runs are. The exit status is 1 where a claim about the committed ones does not hold.
    """
    from migsim.hypervisor.load import load_runs
    from migsim.validate.qemu import CLAIMS, RUNS, is_calibration, predict_all

    check_figure("--plot", plot)
    runs = [run for path in (RUNS if file is None else [file]) for run in load_runs(path)]
    with working(f"predicts {len(runs)} runs"):
        found = list(zip(runs, predict_all(runs), strict=True))
    fitted = [pair for pair in found if file is None and is_calibration(pair[0])]
    others = [pair for pair in found if file is not None or not is_calibration(pair[0])]
    if plot is not None:
        from migsim.plotting import save_figure
        from migsim.validate.drawing import qemu_figure

        save_figure(qemu_figure(others), plot)
    claims = CLAIMS if file is None else ()
    if as_json:
        print(json.dumps(_as_json(others, fitted, claims), indent=2))
    else:
        if not brief:
            _print_runs(found)
        _print_reasons(found)
        if fitted:
            _print_summary(f"{len(fitted)} runs on which constants were fitted", fitted)
        _print_summary(f"{len(others)} runs that no constant was fitted on", others)
        _print_claims(claims, others)
    summary = _summary(others)
    if not all(claim.holds(summary) for claim in claims):
        sys.exit(1)


def _as_json(
    others: Sequence[Pair], fitted: Sequence[Pair], claims: Sequence[Claim]
) -> dict[str, Any]:
    summary = _summary(others)
    return {
        "summary": summary,
        "calibration": _summary(fitted),
        "claims": [
            {
                "claim": claim.text,
                "value": claim.value(summary),
                "at_least" if claim.at_least else "at_most": claim.bound,
                "holds": claim.holds(summary),
            }
            for claim in claims
        ],
        "runs": [
            _run_as_json(run, said, calibration)
            for pairs, calibration in ((others, False), (fitted, True))
            for run, said in pairs
        ],
    }


def _run_as_json(run: RecordedRun, said: Prediction, calibration: bool) -> dict[str, Any]:
    import dataclasses

    import msgspec

    predicted = dataclasses.asdict(said)
    reason = predicted.pop("reason")
    return {
        "name": run.name,
        "repeat": run.repeat,
        "calibration": calibration,
        "inputs": {name: msgspec.to_builtins(getattr(run, name)) for name in run.uses},
        "predicted": None if reason else predicted,
        "reason": reason or None,
        "measured": msgspec.to_builtins(run.measured),
    }


def _summary(pairs: Sequence[Pair]) -> Summary:
    from migsim.validate.errors import summarise

    return summarise((said, run.measured) for run, said in pairs)


def _print_runs(found: Sequence[Pair]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("run", "total", "error", "sent", "error", "downtime", "predicted", "rounds",
                  "predicted", "requests", "predicted"):  # fmt: skip
        table.add_column(title, justify="left" if title == "run" else "right", no_wrap=True)
    for run, said in found:
        name, completed = escape(f"{run.name} #{run.repeat}"), run.measured.status == "completed"
        if said.reason or not said.converged or not completed:
            expected = "not predicted" if said.reason else f"predicted: {END[said.converged]}"
            table.add_row(name, END[completed], expected)
            continue
        table.add_row(
            name,
            both(said, run.measured, "total")[0],
            error(said, run.measured, "total"),
            both(said, run.measured, "bytes")[0],
            error(said, run.measured, "bytes", 2),
            *both(said, run.measured, "downtime"),
            *both(said, run.measured, "rounds"),
            *both(said, run.measured, "postcopy_requests"),
        )
    print_whole(console, table)
    console.print()


def _print_reasons(found: Sequence[Pair]) -> None:
    reasons = [f"{run.name} #{run.repeat}: not predicted: {said.reason}"
               for run, said in found if said.reason]  # fmt: skip
    if reasons:
        click.echo("\n".join([*reasons, ""]))


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
            *(share(row[part]) for part in ("median", "p90", "worst")),
            tolerance,
            share(row[key], 0) if key else "",
        )
        if name == "downtime":
            seconds = [row[f"{part}_seconds"] or 0.0 for part in ("median", "p90", "worst")]
            table.add_row("", "", *(f"{1e3 * value:.0f} ms" for value in seconds), "", "")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    verdicts = summary["convergence"]
    console.print(f"verdicts of convergence: {verdicts['right']} of {verdicts['count']} right\n")


def _print_claims(claims: Sequence[Claim], pairs: Sequence[Pair]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not claims:
        return
    summary = _summary(pairs)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("claimed", "", "found", ""):
        table.add_column(title, justify="left" if title == "claimed" else "right", no_wrap=True)
    for claim in claims:
        bound = f"{'at least' if claim.at_least else 'at most'} {claim.bound:.0%}"
        verdict = "holds" if claim.holds(summary) else "does not hold"
        table.add_row(claim.text, bound, share(claim.value(summary)), verdict)
    Console(highlight=False, soft_wrap=True).print(table)
