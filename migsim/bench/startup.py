"""Start-up: importing, helping, and the first migration, each in fresh processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from migsim.bench.measure import best, environment, seconds
from migsim.bench.rows import Row, Target

__all__ = ["startup"]

_BARE = ("-c", "pass")
_IMPORT = ("-c", "import migsim")
_HELP = ("-m", "migsim", "--help")
_FIRST = ("-m", "migsim", "migrate", "--algorithm", "precopy", "--workload", "uniform",
          "--link", "gigabit", "--memory", "1GiB", "--json")  # fmt: skip


def startup(quick: bool) -> Iterator[Row]:
    """Measure whole processes, the interpreter's own start included."""
    yield from warm(runs=3 if quick else 7)
    if not quick:
        yield cold()


def warm(*, runs: int) -> Iterator[Row]:
    """Measure processes that find all kernels compiled."""
    bare, imported, helped, first = best(
        lambda: _run(_BARE), lambda: _run(_IMPORT), lambda: _run(_HELP), lambda: _run(_FIRST),
        runs=runs, budget=20.0,
    )  # fmt: skip
    for case, took, most in (
        ("import migsim", imported, 0.15),
        ("migsim --help", helped, 0.3),
        ("migsim migrate of 1 GiB, kernels compiled before", first, 0.7),
    ):
        yield _row(case, took, bare, most)


def cold() -> Row:
    """Measure the first migration after an installation: no kernel has been compiled."""
    bare = seconds(lambda: _run(_BARE))
    with tempfile.TemporaryDirectory() as folder:
        took = seconds(lambda: _run(_FIRST, NUMBA_CACHE_DIR=folder))
    return _row("migsim migrate of 1 GiB, the first after installation", took, bare, 5.0)


def _run(arguments: Sequence[str], **changes: str) -> None:
    command = [sys.executable, *arguments]
    subprocess.run(command, env=environment(**changes), capture_output=True, check=True)


def _row(case: str, took: float, bare: float, most: float) -> Row:
    return Row(
        section="start-up", case=case, quantity="whole process", value=took, unit="s",
        beside="bare interpreter", reference=bare, target=Target(most=most),
    )  # fmt: skip
