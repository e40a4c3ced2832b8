"""``migsim plot bars|heat|pareto|ranks|profiles``: figures of stored results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from migsim.cli.plot_options import Output, chosen, numeric, output, where
from migsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bars", "heat", "pareto", "profiles", "ranks"]

_RESULTS = click.argument("path", metavar="RESULTS", type=Path)
_MOST_MARKS = 400
"""Of a page of bars or dots."""
_MOST_PANELS = 12
_VALUES = ("total_seconds", "downtime_seconds")
_COSTS = click.option(
    "--value", default="total_seconds", show_default=True, metavar="COLUMN",
    help="What is compared: less is better.",
)  # fmt: skip


@click.command()
@_RESULTS
@click.option("--value", "values", multiple=True, metavar="COLUMN",
              help="A measurement, a panel each.  [default: total time and downtime]")  # fmt: skip
@click.option("--log", is_flag=True, help="Logarithmic axes, with dots instead of bars.")
@where
@output
def bars(
    path: Path, values: tuple[str, ...], log: bool, conditions: tuple[str, ...], out: Output
) -> None:
    """Compare algorithms by scenario: means over the seeds with 95 % intervals."""
    from migsim.plotting.bars import bar_panels
    from migsim.plotting.dots import dot_panels
    from migsim.plotting.quantities import panel_of

    results = chosen(path, conditions)
    columns = [numeric(results, "--value", name) for name in values or _VALUES]
    count = results["algorithm"].nunique() * results["scenario"].nunique()
    if count > _MOST_MARKS:
        raise InputError(
            f"{path}: {results['algorithm'].nunique()} algorithms x "
            f"{results['scenario'].nunique()} scenarios, expected at most {_MOST_MARKS} bars: "
            "choose some with --where"
        )
    panels = [panel_of(name, log=log) for name in columns]
    draw = dot_panels if log else bar_panels
    title = out.title or "Comparison by scenario"
    out.save(draw(results, panels, rows="scenario", title=title, width=out.width))


@click.command()
@_RESULTS
@click.option("--x", required=True, metavar="COLUMN", help="What is across, such as link.rate.")
@click.option("--y", required=True, metavar="COLUMN", help="What is upwards: workload.rate.")
@click.option("--value", default="downtime_seconds", show_default=True, metavar="COLUMN",
              help="The measurement that the colours show.")  # fmt: skip
@click.option("--by", metavar="COLUMN",
              help="A third quantity, such as link.rtt: a row of maps for each value.")  # fmt: skip
@click.option("--limit", default="1s", show_default=True, metavar="TIME",
              help="The longest downtime with which a migration converges.")  # fmt: skip
@where
@output
def heat(
    path: Path,
    x: str,
    y: str,
    value: str,
    by: str | None,
    limit: str,
    conditions: tuple[str, ...],
    out: Output,
) -> None:
    """Draw maps over two or three quantities, with the border where algorithms stop converging."""
    from migsim.plotting.border import border_maps
    from migsim.plotting.quantities import panel_of
    from migsim.units import parse

    try:
        seconds = parse(limit, "time")
    except InputError as error:
        raise InputError(f"--limit: {error}") from None
    results = chosen(path, conditions)
    for option, name in (("--x", x), ("--y", y), ("--value", value), ("--by", by)):
        if name is not None:
            numeric(results, option, name)
    if len({x, y, by}) < 3:
        raise InputError(f"--x {x}, --y {y}, --by {by}: expected different columns")
    panel = panel_of(value, log=True)
    title = out.title or panel.title.partition(" (")[0].capitalize()
    figure = border_maps(
        results, panel, x=x, y=y, by=by, limit=seconds, title=title, width=out.width
    )
    out.save(figure)


@click.command()
@_RESULTS
@click.option("--x", default="total_seconds", show_default=True, metavar="COLUMN",
              help="What is across.")  # fmt: skip
@click.option("--y", default="downtime_seconds", show_default=True, metavar="COLUMN",
              help="What is upwards.")  # fmt: skip
@click.option("--means", is_flag=True,
              help="One front: of geometric means over the scenarios.")  # fmt: skip
@where
@output
def pareto(
    path: Path, x: str, y: str, means: bool, conditions: tuple[str, ...], out: Output
) -> None:
    """Draw downtime against total time, with the front that no algorithm beats in both."""
    from migsim.plotting.pareto import pareto_panels
    from migsim.plotting.quantities import panel_of

    results = chosen(path, conditions)
    for option, name in (("--x", x), ("--y", y)):
        numeric(results, option, name)
    if x == y:
        raise InputError(f"--x {x}, --y {y}: expected different columns")
    count = results["scenario"].nunique()
    if means:
        results = _geometric_means(results, (x, y))
    elif count > _MOST_PANELS:
        raise InputError(
            f"{path}: {count} scenarios, expected at most {_MOST_PANELS} panels: choose some with "
            "--where, or draw --means"
        )
    title = out.title or "What no algorithm beats in both"
    figure = pareto_panels(
        results, panel_of(x, log=True), panel_of(y, log=True), by="scenario", title=title,
        width=out.width,
    )  # fmt: skip
    out.save(figure)


def _geometric_means(results: pd.DataFrame, columns: tuple[str, str]) -> pd.DataFrame:
    """Return a row for each algorithm and seed, over the scenarios that all of them completed."""
    import numpy as np

    measured = results[list(columns)].notna().all(axis=1)
    met = results["algorithm"].where(measured).groupby(results["scenario"]).nunique()
    complete = measured.groupby(results["scenario"]).all() & (met == results["algorithm"].nunique())
    names = [name for name, good in complete.items() if good]
    if not names:
        raise InputError("there is no scenario that all algorithms met and completed")
    table = results[results["scenario"].isin(names)]
    logs = table[["algorithm", "seed"]].assign(
        **{name: np.log(table[name].clip(lower=1e-9)) for name in columns}
    )
    means = logs.groupby(["algorithm", "seed"], as_index=False)[list(columns)].mean()
    means = means.assign(**{name: np.exp(means[name]) for name in columns})
    return means.assign(scenario=f"geometric means over {len(names)} scenarios")


@click.command()
@_RESULTS
@_COSTS
@where
@output
def ranks(path: Path, value: str, conditions: tuple[str, ...], out: Output) -> None:
    """Draw mean ranks over all scenarios, and which algorithms cannot be told apart."""
    from migsim.plotting.quantities import quantity_of
    from migsim.plotting.ranks import rank_figure
    from migsim.stats import rank

    costs = _costs(path, chosen(path, conditions), value)
    ranking = rank(list(costs.columns), costs.to_numpy(float))
    title = out.title or f"Ranks by {quantity_of(value).name}"
    out.save(rank_figure(ranking, scenarios=len(costs), title=title, width=out.width))


@click.command()
@_RESULTS
@_COSTS
@where
@output
def profiles(path: Path, value: str, conditions: tuple[str, ...], out: Output) -> None:
    """Draw how often each algorithm is within a factor of the best one."""
    from migsim.plotting.quantities import quantity_of
    from migsim.plotting.ranks import profile_figure

    costs = _costs(path, chosen(path, conditions), value)
    name = quantity_of(value).name
    figure = profile_figure(
        list(costs.columns), costs.to_numpy(float), measure=name,
        title=out.title or f"Performance profiles by {name}", width=out.width,
    )  # fmt: skip
    out.save(figure)


def _costs(path: Path, results: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the means over the seeds, scenarios by algorithms; NaN where one did not complete.

    Of the scenarios that all algorithms met. Raises `InputError` for less than two of either.
    """
    from migsim.plotting.identity import ordered

    numeric(results, "--value", value)
    if (results[value] < 0).any():
        raise InputError(f"--value {value}: expected numbers from 0 on")
    means = results.groupby(["scenario", "algorithm"], sort=False)[value]
    met = means.size().unstack().notna().all(axis=1)
    table = means.agg(lambda values: values.mean(skipna=False)).unstack()
    table = table.loc[met[met].index, ordered(table.columns)]
    if min(table.shape) < 2:
        raise InputError(
            f"{path}: {table.shape[1]} algorithms met in {table.shape[0]} scenarios, expected two "
            "or more of both"
        )
    return table
