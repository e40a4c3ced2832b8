"""``migsim calibrate``: how long codecs take on this machine, and what they make of pages."""

from __future__ import annotations

from pathlib import Path

import click

from migsim.codec_costs import costs_path

__all__ = ["command"]


@click.command("calibrate")
@click.option("--output", type=Path, metavar="FILE.csv",
              help="Where to write; by default where -v codec_costs=measured looks.")  # fmt: skip
@click.option("--tables", type=Path, metavar="FOLDER",
              help="Instead measure the sizes of encoded pages, as in migsim/data.")  # fmt: skip
def command(output: Path | None, tables: Path | None) -> None:
    """Measure the CPU time of the codecs on this machine, and keep it in a file.

    Simulations charge the times of a reference machine unless they are told otherwise, so that
    they come to the same on every machine: -v codec_costs=measured takes those of this one, and
    -v codec_costs=FILE.csv those of a file. Takes about two minutes; leave the machine in peace.
    """
    from migsim import calibration

    if tables is not None:
        for name, rows in (
            ("codec-sizes.csv", calibration.size_rows()),
            ("delta-sizes.csv", calibration.delta_rows()),
        ):
            count = calibration.write_table(tables / name, rows)
            click.echo(f"{tables / name}: {count} rows")
        return
    target = output or costs_path("measured")
    count = calibration.write_table(target, calibration.measure_costs())
    click.echo(f"{target}: {count} rows")
