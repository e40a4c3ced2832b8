"""``migsim paper``: results, facts, figures and the PDF, by one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from migsim.paper.plan import PaperPlan

__all__ = ["command"]


@click.command("paper")
@click.option("--folder", type=Path, default=Path("paper"), show_default=True, metavar="DIR",
              help="The paper's text and its paper.toml.")  # fmt: skip
@click.option("--results", "store", type=Path, default=Path("results"), show_default=True,
              metavar="DIR", help="Where results are kept; those that are there are not run "
              "again. PDF and what it is made of come into its folder 'paper'.")  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Processes; default: all processors."
)
@click.option("--dask", metavar="ADDRESS", help="Run sweeps on a Dask cluster, as 'migsim run'.")
@click.option("--quick", is_flag=True, help="Run small versions of the sweeps; the PDF says so.")
@click.option("--committed", is_flag=True,
              help="Run no sweeps: take the results committed in the paper's folder.")  # fmt: skip
@click.option("--update", is_flag=True,
              help="Put results, figures and PDF into the paper's folder.")  # fmt: skip
def command(
    folder: Path,
    store: Path,
    workers: int | None,
    dask: str | None,
    quick: bool,
    committed: bool,
    update: bool,
) -> None:
    """Rebuild a paper: run its sweeps and comparisons, draw its figures and typeset it.

    Says which numbers differ from the committed ones. The exit status is 1 where a claim does not
    hold, or where a complete build gives other numbers than the committed ones.
    """
    from migsim.paper.build import broken_claims, check_build, compile_text, lay_out
    from migsim.paper.committed import commit, committed_facts, committed_results
    from migsim.paper.facts import differences, facts_of
    from migsim.paper.figures import figures_of
    from migsim.paper.plan import read_plan

    if quick and (committed or update):
        raise InputError("--quick goes with neither --committed nor --update: it gives no results")
    plan = read_plan(folder)
    build = store / "paper"
    check_build(folder, build)
    known = None if quick or update else committed_facts(folder)
    if committed:
        results = committed_results(plan, folder)
    else:
        results = _run_sweeps(plan, store, workers, dask, quick=quick)
    validations = _run_validations(plan)
    experiments, pages = _read(results)
    facts = facts_of(experiments, validations, listings=plan.listings, quick=quick)
    broken = list(broken_claims(facts))
    for claim in broken:
        click.secho(f"broken: {claim}", fg="red", err=True)
    if broken:
        sys.exit(1)
    _step("draws the figures")
    figures = figures_of(plan, results, validations)
    _step("typesets the paper")
    store.mkdir(parents=True, exist_ok=True)
    lay_out(folder, build, facts, figures)
    pdf = build / Path(plan.text).with_suffix(".pdf").name
    pdf.write_bytes(compile_text(plan, build))
    click.echo(f"written: {pdf}")
    if update:
        # Drawn once more: a figure that was saved before has been laid out before, and moves a bit.
        fresh = figures_of(plan, results, validations)
        commit(plan, folder, results, facts, fresh, pages, pdf)
        click.echo(f"updated: {folder}")
        return
    if known is None:
        return
    changed = list(differences(known, facts))
    for line in changed[:20]:
        click.echo(f"differs from the committed facts: {line}")
    if changed:
        click.echo(f"{len(changed)} facts are not those that are committed; --update is for that")
        sys.exit(1)
    click.echo("all facts are those that are committed")


def _step(text: str) -> None:
    click.secho(f"== {text}", bold=True)


def _run_sweeps(
    plan: PaperPlan, store: Path, workers: int | None, dask: str | None, *, quick: bool
) -> dict[str, pd.DataFrame]:
    from migsim.cli.sweeping import sweeping
    from migsim.experiment import Plan, load, tasks_of
    from migsim.store import frame

    results = {}
    for name, sweep in plan.experiments.items():
        seeds = 1 if quick else sweep.seeds
        tasks = tasks_of(load(name), Plan(seeds=seeds, quick=quick))
        _step(f"{name}: {len(tasks)} migrations")
        with sweeping(store / name, workers, dask) as run:
            results[name] = frame(run(tasks), (task.label for task in tasks))
    return results


def _run_validations(plan: PaperPlan) -> dict[str, Any]:
    from migsim.validate.facts import VALIDATIONS

    found = {}
    for name in plan.validations:
        _step(f"validates: {name}")
        found[name] = VALIDATIONS[name]()
    return found


def _read(results: dict[str, pd.DataFrame]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the results come to, and the pages of those experiments that have one."""
    from migsim.experiment import completed_only, load
    from migsim.paper.facts import facts_of_experiment

    facts: dict[str, Any] = {}
    pages: dict[str, str] = {}
    for name, table in results.items():
        _step(f"reads: {name}")
        experiment = load(name)
        facts[name] = facts_of_experiment(experiment, table)
        pages[name] = experiment.page(completed_only(table))
    return facts, pages
