"""``migsim validate peers``: other people's models and ours on the same recorded migrations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.comparison import share, working

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migsim.validate.contention import ContentionRow
    from migsim.validate.errors import Summary
    from migsim.validate.linear import LinearRow

__all__ = ["peers"]


@click.command()
@click.option(
    "--runs",
    "file",
    type=Path,
    metavar="FILE",
    help="Recorded runs of your own, as for 'migsim validate qemu'.  [default: those of the "
    "committed ones on which no constant was fitted]",
)
@click.option("--all-memory", is_flag=True,
              help="Tell peers all memory, pages of zeros included.")  # fmt: skip
@click.option("--summary", "brief", is_flag=True, help="Print none of SimGrid's guests.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def peers(file: Path | None, all_memory: bool, brief: bool, as_json: bool) -> None:
    """Predict recorded migrations with other people's models, and show their errors beside ours.

    Most peers know no pages of zeros: they are told the memory that holds data, which favours
    them. Then SimGrid's guests, alone and several on a link, as a special case of our model; the
    exit status is 1 where the two differ by more than is claimed.
    """
    from migsim.hypervisor.load import load_runs
    from migsim.validate import contention
    from migsim.validate.facts import beside_peers, of_plain, summaries
    from migsim.validate.linear import TOLERANCE, compare_linear
    from migsim.validate.qemu import RUNS, is_calibration

    runs = [run for path in (RUNS if file is None else [file]) for run in load_runs(path)]
    chosen = [run for run in runs if file is not None or not is_calibration(run)]
    with working(f"predicts {len(chosen)} runs"):
        said = beside_peers(chosen, used_memory=not all_memory)
    everything = summaries(chosen, said)
    plain_runs, plain_said = of_plain(chosen, said)
    plain = summaries(plain_runs, plain_said)
    with working("simulates SimGrid's guests"):
        linear = compare_linear()
        together = contention.compare_contention()
    worst = max(row.error for row in linear)
    worst_together = max(row.error for row in together)
    if as_json:
        print(json.dumps(_as_json(everything, plain, linear, together, len(chosen),
                                  len(plain_runs)), indent=2))  # fmt: skip
    else:
        _print_peers(f"all {len(chosen)} runs", everything)
        _print_peers(f"the {len(plain_runs)} of plain pre-copy, which peers know", plain)
        if not brief:
            _print_linear(linear)
            _print_contention(together)
        click.echo(
            f"SimGrid's guests that share a link: each total time, and bytes, differ by "
            f"{worst_together:.2%} at most, claimed: {contention.TOLERANCE:.1%}"
        )
        click.echo(
            f"SimGrid's {len(linear)} guests: total time and bytes differ by {worst:.2%} at most, "
            f"claimed: {TOLERANCE:.0%}"
        )
    if worst > TOLERANCE or worst_together > contention.TOLERANCE:
        sys.exit(1)


def _as_json(
    everything: Mapping[str, Summary],
    plain: Mapping[str, Summary],
    linear: Sequence[LinearRow],
    together: Sequence[ContentionRow],
    runs: int,
    plain_runs: int,
) -> dict[str, Any]:
    import dataclasses

    return {
        "runs": runs,
        "predictors": everything,
        "plain": {"runs": plain_runs, "predictors": plain},
        "linear": [dataclasses.asdict(row) | {"error": row.error} for row in linear],
        "contention": [dataclasses.asdict(row) | {"error": row.error} for row in together],
    }


def _print_peers(title: str, found: Mapping[str, Summary]) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("", "says of", "totals", "total: median", "p90", "worst", "bytes: median",
                    "p90", "downtime within", "rounds within one", "verdicts right"):  # fmt: skip
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, summary in found.items():
        total, sent, verdicts = summary["total"], summary["bytes"], summary["convergence"]
        table.add_row(
            name,
            str(summary["runs"]["predicted"]),
            str(total["count"]),
            *(share(total[measure]) for measure in ("median", "p90", "worst")),
            *(share(sent[measure]) for measure in ("median", "p90")),
            share(summary["downtime"]["within_20_ms_or_25_percent"], 0),
            share(summary["rounds"]["within_one"], 0),
            f"{verdicts['right']} of {verdicts['count']}" if verdicts["count"] else "",
        )
    print_whole(console, table)
    console.print()


def _print_linear(rows: Sequence[LinearRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole
    from migsim.units import format_size

    console = Console(highlight=False, soft_wrap=True)
    table = Table(title="SimGrid's guests: total time, SimGrid's and ours", title_justify="left",
                  title_style="bold", box=None, pad_edge=False)  # fmt: skip
    for heading in ("memory", "dirtied", "SimGrid", "migsim", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            format_size(row.memory),
            f"{row.dirty_rate / 1e6:g} MB/s",
            f"{row.simgrid_seconds:.2f} s",
            f"{row.seconds:.2f} s",
            f"{row.error:.2%}",
        )
    print_whole(console, table)
    console.print()


def _print_contention(rows: Sequence[ContentionRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    table = Table(title="SimGrid's guests on one link: when the last is through",
                  title_justify="left", title_style="bold", box=None, pad_edge=False)  # fmt: skip
    for heading in ("guests", "apart", "dirtied", "SimGrid", "migsim", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.guests),
            f"{row.interval:g} s",
            f"{row.dirty_rate / 1e6:g} MB/s",
            f"{row.simgrid_over:.2f} s",
            f"{row.over:.2f} s",
            f"{row.error:.2%}",
        )
    print_whole(console, table)
    console.print()
