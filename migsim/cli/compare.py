"""``migsim compare``: which algorithms changed between two sets of results or two revisions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migsim.cli.outputs import check_file
from migsim.errors import InputError

if TYPE_CHECKING:
    from migsim.compare import Side
    from migsim.compare.revisions import Revision, Running

__all__ = ["command"]

_BY_ENDING = {".md": "markdown", ".xml": "junit", ".txt": "text"}


@click.command("compare")
@click.argument("base", metavar="BASE")
@click.argument("head", metavar="HEAD")
@click.option("--experiment", default="ci", show_default=True, metavar="NAME|FILE.py",
              help="What is run at revisions.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, metavar="N",
              help="Repetitions with other seeds, at revisions.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Run the small version, at revisions.")
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Processes; default: all processors."
)
@click.option("--threshold", "thresholds", multiple=True, metavar="[MEASURE=]SHARE",
              help="What is let pass: 2% or, for one measure (total, downtime, bytes, lost, cpu), "
              "downtime=5%; default 1%.")  # fmt: skip
@click.option("--allow-missing", is_flag=True, help="Algorithms that HEAD lacks are not broken.")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "junit"]), default="text",
              show_default=True, help="Of what is printed, or of --output.")  # fmt: skip
@click.option("--output", "outputs", multiple=True, type=Path, metavar="FILE",
              help="Write the report there, and print it as text; repeat it for more of them: .md "
              "is Markdown, .xml JUnit, .txt text, whatever --format says.")  # fmt: skip
def command(
    base: str,
    head: str,
    experiment: str,
    seeds: int,
    quick: bool,
    workers: int | None,
    thresholds: tuple[str, ...],
    allow_missing: bool,
    form: str,
    outputs: tuple[Path, ...],
) -> None:
    """Compare two sets of results of the same experiment.

    BASE and HEAD are files of results, folders of results, or git revisions, which are checked out
    and run. The exit status is 1 where an algorithm became worse or something is broken.
    """
    from migsim.compare import compare, parse_thresholds
    from migsim.compare.reports import FORMATS
    from migsim.compare.revisions import Running

    limits = parse_thresholds(thresholds)
    for path in outputs:
        check_file("--output", path)
    running = Running(experiment, seeds, quick, workers)
    sides = _sides(base, head, running)
    comparison = compare(sides[0], sides[1], limits, allow_missing=allow_missing)
    for path in outputs:
        try:
            path.write_text(FORMATS[_BY_ENDING.get(path.suffix, form)](comparison), "utf-8")
        except OSError as error:
            raise InputError(f"--output {path}: cannot be written: {error.strerror}") from None
    click.echo(FORMATS["text" if outputs else form](comparison), nl=False)
    if comparison.status:
        sys.exit(1)


def _sides(base: str, head: str, running: Running) -> list[Side]:
    """Return both sides; whatever is wrong with one is told before the other is run."""
    from migsim.compare import Side, load_side
    from migsim.compare.revisions import find_revision, run_revisions

    found: list[Side | Revision] = [
        load_side(Path(name)) if Path(name).exists() else find_revision(name, option)
        for name, option in ((base, "BASE"), (head, "HEAD"))
    ]
    revisions = [side for side in found if not isinstance(side, Side)]
    if not revisions:
        return [side for side in found if isinstance(side, Side)]
    ran = iter(run_revisions(revisions, running, lambda what: click.echo(what, err=True)))
    return [side if isinstance(side, Side) else next(ran) for side in found]
