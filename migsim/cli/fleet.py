"""``migsim fleet``: plan and run migrations of many machines, and read what was recorded."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.outputs import check_figure, check_file
from migsim.errors import InputError

if TYPE_CHECKING:
    from migsim.fleet.chain import Verdict
    from migsim.fleet.history import History

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
@_JSON
def plan(file: Path, as_json: bool) -> None:
    """Tell what would be done with a fleet, and what it would come to, without doing it.

    Each job begins where the ones before it leave the machines if all goes well; retries, and
    jobs that overlap, are left to 'run'. The exit status is 1 where something could not be done.
    """
    from migsim.cli.comparison import working
    from migsim.cli.fleet_plan import print_plan
    from migsim.cli.fleet_tables import console
    from migsim.fleet.plan import plan_fleet
    from migsim.fleet.plan_words import hindrance, plan_as_json
    from migsim.fleet.scenario import read_scenario

    scenario = read_scenario(file)
    with working(f"plans {len(scenario.jobs)} jobs"):
        plans = plan_fleet(scenario)
    if as_json:
        told = {"name": scenario.name, "jobs": [plan_as_json(one) for one in plans]}
        print(json.dumps(told, indent=2, allow_nan=False))
    else:
        console().print(scenario.name, style="bold", markup=False)
        for one in plans:
            print_plan(one)
        if not plans:
            click.echo("nothing is to be done: the file has no evacuate, balance or move")
    if any(hindrance(one) for one in plans):
        sys.exit(1)


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

    scenario = read_scenario(file)
    places = Places.of(file, log, output, plot)
    check_file("--output", places.rows)
    check_figure("--plot", plot)
    done = run_logged(scenario, places.log)
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


@fleet.command()
@_LOG
@click.option("--at", metavar="TIME", help="Tell the state at that time, such as 61min; "
              "else the last one.")  # fmt: skip
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw the migrations over time.")
@_JSON
def report(log: Path, at: str | None, plot: Path | None, as_json: bool) -> None:
    """Tell from an audit log alone what happened, and where machines are.

    The log of a run that was interrupted is told as far as it goes.
    """
    from migsim.cli.fleet_tables import print_report
    from migsim.fleet.chain import read_entries
    from migsim.fleet.chain import verify as verdict_of
    from migsim.fleet.history import read_history
    from migsim.fleet.report import report_as_json

    until = _time("--at", at)
    check_figure("--plot", plot)
    verdict = verdict_of(log)
    history = read_history(read_entries(log), until)
    if not history.entries:
        raise InputError(f"{log}: the log is empty, expected one of 'migsim fleet run'")
    if plot is not None:
        _draw(plot, history)
    if as_json:
        told = {"log": _verdict(verdict), **report_as_json(history)}
        print(json.dumps(told, indent=2, allow_nan=False))
    else:
        print_report(history)
        click.echo(verdict.words)


def _time(option: str, text: str | None) -> float:
    """Return the seconds that an option says; infinity where it is not given."""
    from migsim.units import parse

    if text is None:
        return math.inf
    try:
        return float(parse(text, "time"))
    except InputError as error:
        raise InputError(f"{option}: {error}") from None


def _draw(path: Path, history: History) -> None:
    from migsim.fleet.drawing import history_figure
    from migsim.plotting import save_figure

    save_figure(history_figure(history), path)


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
