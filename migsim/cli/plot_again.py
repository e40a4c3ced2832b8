"""``migsim plot timeline|faults|predicted``: figures that need migrations to be simulated again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.comparison import working
from migsim.cli.migrate import task_of, task_options
from migsim.cli.plot_options import Output, chosen, output, where
from migsim.errors import InputError, last_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from migsim._types import Floats
    from migsim.task import ResolvedTask

__all__ = ["faults", "predicted", "timeline"]

_MOST_RUNS = 60
_MOST_PANELS = 12


@click.command()
@task_options(required=False)
@click.option("--from", "path", type=Path, metavar="RESULTS",
              help="Take a stored migration, and simulate it again.")  # fmt: skip
@click.option("--key", metavar="PREFIX", help="The beginning of its key.")
@output
def timeline(path: Path | None, key: str | None, out: Output, **options: Any) -> None:
    """Draw one migration over time: pages by kind, dirty memory, the link, the guest's speed.

    The migration is that of the options of 'migsim migrate', or a stored one. It is simulated twice
    and looked at the second time, which changes nothing of it.
    """
    from migsim.drawing import draw_migration
    from migsim.simulate import watched

    task = _stored(path, key, options) if path or key else _given(options)
    with working("simulates the migration"):
        outcome, samples = watched(task)
    result = outcome.result
    if result.status in {"failed", "corrupt"}:
        told = f"the migration ended {result.status} and is not drawn"
        raise InputError(f"{told}: {last_line(result.error)}")
    if result.status != "completed":
        click.echo(f"the migration did not complete ({result.status}): {result.error.strip()}")
    out.save(draw_migration(task, outcome, samples, title=out.title, width=out.width))


def _given(options: dict[str, Any]) -> ResolvedTask:
    missing = [f"--{name}" for name in ("algorithm", "workload", "link") if not options[name]]
    if missing:
        raise InputError(
            f"plot timeline: {', '.join(missing)} not given, expected the options of "
            "'migsim migrate', or --from RESULTS --key PREFIX"
        )
    return task_of(**options)


def _stored(path: Path | None, key: str | None, options: dict[str, Any]) -> ResolvedTask:
    from migsim.recall import task_of as recalled
    from migsim.results import load_results

    if path is None or key is None:
        raise InputError("plot timeline: --from RESULTS and --key PREFIX go together")
    given = [name for name, value in options.items() if value]
    if given:
        raise InputError(
            f"plot timeline: --from and --{given[0].replace('_args', '')} exclude each other"
        )
    results = load_results(path)
    found = results[results["key"].astype(str).str.startswith(key)].drop_duplicates("key")
    if len(found) != 1:
        what = "no result has" if found.empty else f"{len(found)} results have"
        raise InputError(f"{path}: {what} a key that begins with '{key}', expected one")
    return recalled(found.iloc[0].to_dict())


@click.command()
@click.argument("path", metavar="RESULTS", type=Path)
@where
@output
def faults(path: Path, conditions: tuple[str, ...], out: Output) -> None:
    """Draw how long accesses wait for their pages in post-copy, as distributions.

    Stored results hold only mean, 99 % and maximum, so the migrations are simulated again.
    """
    from migsim.plotting.latency import latency_panels
    from migsim.recall import task_of as recalled
    from migsim.simulate import execute

    results = chosen(path, conditions)
    if "faults" not in results:
        raise InputError(f"{path}: there is no column 'faults'")
    results = results[results["faults"] > 0].drop_duplicates("key")
    if results.empty:
        raise InputError(f"{path}: no migration chosen had faults that waited for pages")
    _check_count(path, len(results), "migrations with faults", _MOST_RUNS)
    _check_count(path, results["scenario"].nunique(), "scenarios", _MOST_PANELS)
    tasks = [recalled(row.to_dict()) for _, row in results.iterrows()]
    found: dict[str, dict[str, list[Floats]]] = {}
    with working(f"simulates {len(tasks)} migrations again"):
        for task, (_, row) in zip(tasks, results.iterrows(), strict=True):
            panel = found.setdefault(str(row["scenario"]), {})
            panel.setdefault(row["algorithm"], []).append(execute(task).fault_latencies)
    title = out.title or "How long an access waits for its page"
    out.save(latency_panels(found, title=title, width=out.width))


def _check_count(path: Path, count: int, what: str, most: int) -> None:
    if count > most:
        raise InputError(f"{path}: {count} {what}, expected at most {most}: choose with --where")


@click.command()
@click.argument("what", metavar="qemu|tcp|published|FILE")
@output
def predicted(what: str, out: Output) -> None:
    """Draw predicted against measured: as 'migsim validate' does, or of recorded runs in FILE."""
    figure = _predicted(what, out)
    if out.title:
        from migsim.plotting import style

        style.title(figure, out.title)
    out.save(figure)


def _predicted(what: str, out: Output) -> Figure:
    from migsim.validate import drawing

    if what == "tcp":
        from migsim.validate.tcp import DATA, compare, read_rows

        with working("predicts TCP"):
            sets = {name: compare(read_rows(path)) for name, path in DATA.items()}
        return drawing.tcp_figure(sets, out.width)
    if what == "published":
        from migsim.validate import published
        from migsim.validate.published.drawing import published_figure

        with working("predicts published figures"):
            findings = published.compare(published.CHECKS)
        return published_figure(findings)
    from migsim.hypervisor.load import load_runs
    from migsim.validate.qemu import RUNS, is_calibration, predict_all

    committed = what == "qemu"
    runs = [run for path in (RUNS if committed else [Path(what)]) for run in load_runs(path)]
    runs = [run for run in runs if not (committed and is_calibration(run))]
    with working(f"predicts {len(runs)} runs"):
        found = list(zip(runs, predict_all(runs), strict=True))
    return drawing.qemu_figure(found, out.width)
