"""Runs scenarios one after the other and keeps what a file already holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from migsim.errors import InputError
from migsim.hypervisor.live import Tools, run
from migsim.hypervisor.runs import RecordedRun, read_runs, write_run
from migsim.hypervisor.scenario import Scenario
from migsim.units import MIB

__all__ = ["Failure", "check_known", "held", "missing", "run_missing"]

_INPUTS = (
    "memory", "vcpus", "workload", "link", "capabilities", "parameters", "postcopy_after_seconds",
    "postcopy_after_rounds",
)  # fmt: skip


class Failure(NamedTuple):
    """A run that came to nothing: a QEMU refused it or died, or the migration failed."""

    name: str
    repeat: int
    reason: str


@contextmanager
def held(output: Path | None) -> Iterator[None]:
    """Keep the file for us alone, or two migsims would record the same repetition.

    Raises `InputError` where another one has it, and where it cannot be written. A file that did
    not exist and got no run is gone again.
    """
    if output is None:
        yield
        return
    made = not output.exists()
    try:
        file = output.open("ab")
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{output}: another migsim is writing to it") from None
        try:
            yield
        finally:
            if made and os.fstat(file.fileno()).st_size == 0:
                output.unlink(missing_ok=True)


def missing(
    scenarios: Sequence[Scenario], repeats: int, known: Sequence[RecordedRun]
) -> list[tuple[Scenario, int]]:
    """Return what is still to run, repetition by repetition, so that a stop leaves whole rounds."""
    there = {(run.name, run.repeat) for run in known}
    return [
        (scenario, repeat)
        for repeat in range(repeats)
        for scenario in scenarios
        if (scenario.name, repeat) not in there
    ]


def check_known(output: Path, scenarios: Sequence[Scenario]) -> list[RecordedRun]:
    """Return the runs of a file. Raises `InputError` where one has a scenario's name and differs.

    Otherwise two different migrations would be taken for repetitions of one.
    """
    if not output.exists() or output.stat().st_size == 0:
        return []
    known = read_runs(output)
    by_name = {scenario.name: scenario for scenario in scenarios}
    for past in known:
        scenario = by_name.get(past.name)
        for key in _INPUTS if scenario is not None else ():
            before, now = getattr(past, key), getattr(scenario, key)
            # What QEMU migrates, and so recorded, is a little more memory than was asked for.
            if before != now and not (key == "memory" and 0 <= before - now < MIB):
                raise InputError(
                    f"{output}: '{past.name}' was recorded with {key} {before!r}, and the scenario "
                    f"has {now!r}, expected another name or another file"
                )
    return known


def run_missing(
    todo: Sequence[tuple[Scenario, int]],
    tools_for: Callable[[Scenario], Tools],
    output: Path,
    collection: str,
    tell: Callable[[str], None],
) -> Iterator[RecordedRun | Failure]:
    """Run and append each; yield it when it is in the file. One that fails stops no other."""
    for scenario, repeat in todo:
        tell(f"{scenario.name}: starts")
        tools = tools_for(scenario)
        try:
            recorded = run(
                scenario, tools, repeat=repeat, collection=collection,
                tell=lambda stage, name=scenario.name: tell(f"{name}: {stage}"),  # type: ignore[misc]
            )  # fmt: skip
        except (InputError, RuntimeError, OSError) as error:
            yield Failure(scenario.name, repeat, str(error))
            continue
        write_run(output, recorded)
        yield recorded
