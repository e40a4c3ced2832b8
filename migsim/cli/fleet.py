"""``migsim fleet``: plan and run migrations of many machines, and read what was recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.outputs import check_figure, check_file
from migsim.errors import InputError

if TYPE_CHECKING:
    from migsim.fleet.chain import Verdict

__all__ = ["fleet"]

_FILE = click.argument("file", type=Path, metavar="FILE.toml")
_LOG = click.argument("log", type=Path, metavar="FILE.jsonl")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def fleet() -> None:
    """Plan, run and report on migrations of many machines: moves, evacuations, balancing.

    FILE.toml has the networks, hosts and machines, what is to be done, and what breaks; there are
    examples in experiments/fleets.
    """


@fleet.command()
@_FILE
@click.option("--log", type=Path, metavar="FILE.jsonl",
              help="Keep the audit log there.  [default: NAME.audit.jsonl]")  # fmt: skip
@click.option("--output", type=Path, metavar="FOLDER|FILE.csv",
              help="Write a row for each migration; a folder takes the log, too.")  # fmt: skip
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw the migrations over time.")
@_JSON
def run(
    file: Path, log: Path | None, output: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Run a fleet in virtual time, and keep an audit log.

    A run that was interrupted goes on behind the last entry of its log; over a complete log, each
    entry is compared. The exit status is 1 where a machine runs nowhere or twice in the end, and
    where something that was wanted was not done.
    """
    from migsim.cli.fleet_run import Places, print_run, run_as_json, run_logged, write_rows
    from migsim.fleet.report import alarms, shortfalls
    from migsim.fleet.scenario import read_scenario

    places = Places.of(file, log, output)
    check_file("--output", places.rows)
    check_figure("--plot", plot)
    done = run_logged(read_scenario(file), places.log)
    if places.rows is not None:
        write_rows(done.outcome.attempts, places.rows)
    if plot is not None:
        _draw(plot, done.history)
    if as_json:
        print(json.dumps(run_as_json(done), indent=2))
    else:
        print_run(done)
    if alarms(done.history.state) or shortfalls(done.history):
        sys.exit(1)


@fleet.group()
def audit() -> None:
    """Check audit logs of 'migsim fleet run'."""


@audit.command()
@_LOG
@_JSON
def verify(log: Path, as_json: bool) -> None:
    """Tell whether an audit log is whole: no line changed, cut out or put elsewhere.

    The exit status is 1 where it is broken, or open: its run was interrupted, or its end cut off.
    """
    from migsim.fleet.chain import verify as verdict_of

    verdict = verdict_of(log)
    if as_json:
        print(json.dumps(_verdict(verdict), indent=2))
    else:
        click.echo(verdict.words)
    if verdict.status != "intact":
        sys.exit(1)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(verdict) | {"path": str(verdict.path), "words": verdict.words}
