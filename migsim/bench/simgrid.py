"""SimGrid's live-migration plugin and ours on one grid: real time, and how far answers differ.

The same question: a guest dirties its memory linearly, up to 90 % of it, over 1 Gbit/s as LV08,
SimGrid's model of a network, sees it (0.97 of that), and pre-copy goes on until the rest fits 30 ms
(`migsim.validate.linear` says why it is the same). SimGrid computes a number of bytes for each
round; we migrate every page.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from migsim.bench.measure import seconds
from migsim.bench.rows import Row, Target
from migsim.hypervisor.guest import cache_directory
from migsim.simulate import execute, load_kernels
from migsim.units import GIB, format_size
from migsim.validate.linear import TOLERANCE, linear_task

__all__ = ["Missing", "Point", "build", "rows", "simgrid"]

_SOURCE = Path(__file__).parent / "src" / "migrate.cpp"
_FLAGS = ("-O2", "-std=c++17")
_RATES = (0.0, 10e6, 25e6, 50e6, 75e6, 100e6)
_LINK = ("125e6", "50e-6", "split", "1e9")  # bytes/s, seconds one way, kind, the speed allowed


class Missing(RuntimeError):  # noqa: N818 - it is told, not programmed wrongly
    """SimGrid or a compiler is not there; told in one sentence."""


@dataclass(frozen=True)
class Point:
    """One migration of the grid, both ways.

    Attributes:
        ours: real seconds of `migsim.simulate.execute`, the task resolved, kernels loaded.
        engine: of SimGrid, from the making of its engine to the end of its run, in the process.
        run: of that, the run alone.
        process: of its whole process.
        total, their_total: virtual seconds of the migration.
    """

    memory: int
    dirty_rate: float
    ours: float
    engine: float
    run: float
    process: float
    total: float
    their_total: float

    @property
    def error(self) -> float:
        """How far the total times are apart, relative to SimGrid's."""
        return abs(self.total / self.their_total - 1.0)


def simgrid(quick: bool) -> Iterator[Row]:
    """Measure 1 to 64 GiB and 0 to 100 MB/s."""
    sizes = (1, 4) if quick else (1, 4, 16, 64)
    yield from rows([size * GIB for size in sizes], _RATES, runs=3 if quick else 5)


def rows(memories: Sequence[int], rates: Sequence[float], *, runs: int) -> Iterator[Row]:
    """Measure a grid; where SimGrid is missing, one row says so."""
    try:
        program = build()
    except Missing as reason:
        yield Row(section="simgrid", case="not measured", quantity="", value=None, unit="s",
                  note=str(reason))  # fmt: skip
        return
    points = []
    for memory in memories:
        for rate in rates:
            points.append(_measure(program, memory, rate, runs))
            yield _row(points[-1])
    yield from _summary(points)


def build(folder: Path | None = None) -> Path:
    """Return the compiled harness, kept in migsim's cache under a name that tells its source.

    Raises `Missing` where there is no compiler or no SimGrid.
    """
    folder = cache_directory().parent / "bench" if folder is None else folder
    digest = hashlib.sha256(_SOURCE.read_bytes() + repr(_FLAGS).encode()).hexdigest()[:12]
    program = folder / f"simgrid-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise Missing("found no g++, expected apt's g++ and libsimgrid-dev")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / "program"
            command = [compiler, *_FLAGS, "-o", str(made), str(_SOURCE), "-lsimgrid"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                found = next((x for x in done.stderr.splitlines() if "error" in x), "g++ failed")
                raise Missing(
                    f"SimGrid's harness does not compile, expected libsimgrid-dev: {found}"
                )
            made.replace(program)
    except OSError as error:
        raise Missing(f"{folder}: cannot keep what is built: {error.strerror}") from None
    return program


def _measure(program: Path, memory: int, dirty_rate: float, runs: int) -> Point:
    working_set = memory * 9 // 10
    task = linear_task(memory, working_set, dirty_rate).resolve()
    load_kernels(task)
    total = execute(task).result.total_seconds
    command = [str(program), str(memory), str(working_set), str(dirty_rate), *_LINK]
    ours: list[float] = []
    engine: list[float] = []
    run: list[float] = []
    process: list[float] = []
    said = ""
    for _ in range(runs):
        ours.append(seconds(lambda: execute(task)))

        def theirs() -> None:
            nonlocal said
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            said = done.stdout
            whole, alone = (float(x) for x in done.stderr.split()[-2:])
            engine.append(whole)
            run.append(alone)

        process.append(seconds(theirs))
    return Point(
        memory, dirty_rate, min(ours), min(engine), min(run), min(process),
        total, float(said.split(",")[7]),
    )  # fmt: skip


def _row(point: Point) -> Row:
    return Row(
        section="simgrid",
        case=f"{format_size(point.memory)}, {point.dirty_rate / 1e6:g} MB/s dirtied",
        quantity="real time",
        value=point.ours,
        unit="s",
        beside="SimGrid's engine",
        reference=point.engine,
        note=f"total time differs by {point.error:.3%}",
        details={
            "simgrid_run_seconds": point.run,
            "simgrid_process_seconds": point.process,
            "simgrid_total_seconds": point.their_total,
            "total_seconds": point.total,
        },
    )


def _summary(points: Sequence[Point]) -> Iterator[Row]:
    def row(quantity: str, value: float, most: float | None, unit: str = "x") -> Row:
        return Row(
            section="simgrid", case=f"all {len(points)}", quantity=quantity, value=value,
            unit=unit,  # type: ignore[arg-type]
            target=None if most is None else Target(most=most),
        )  # fmt: skip

    for quantity, ratios, most in (
        ("median of ratios to its engine", [p.ours / p.engine for p in points], 3.0),
        ("the same to its run, the engine made before", [p.ours / p.run for p in points], None),
        ("median of ratios to its whole process", [p.ours / p.process for p in points], 1.0),
        ("largest ratio to its whole process", [p.ours / p.process for p in points], None),
    ):
        summary = max(ratios) if quantity.startswith("largest") else statistics.median(ratios)
        yield row(quantity, summary, most)
    yield row("largest difference of total times", max(p.error for p in points), TOLERANCE, "share")
