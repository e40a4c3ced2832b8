"""``migsim plot``: figures of results and of single migrations, at paper size."""

from __future__ import annotations

import click

from migsim.cli.plot_again import faults, predicted, timeline
from migsim.cli.plot_results import bars, heat, pareto, profiles, ranks

__all__ = ["plot"]


@click.group()
def plot() -> None:
    """Draw figures at paper size: 7.0 in wide, or 3.4 in for one column.

    RESULTS are a folder of 'migsim run', a file of rows, or a table of them in CSV or Parquet.
    """


for _command in (timeline, bars, heat, pareto, faults, predicted, ranks, profiles):
    plot.add_command(_command)
