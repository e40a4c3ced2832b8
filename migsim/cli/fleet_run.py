"""What ``migsim fleet run`` does, writes and prints."""

from __future__ import annotations

import csv
import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from migsim.cli.comparison import working
from migsim.cli.fleet_tables import console, print_history_end, print_legs, print_table
from migsim.errors import InputError
from migsim.files import replaced
from migsim.fleet.audit import AuditLog
from migsim.fleet.chain import Detail, Entry, Kind, Verdict, read_entries, verify
from migsim.fleet.describe import digest
from migsim.fleet.history import History, read_history
from migsim.fleet.manager import Recorder
from migsim.fleet.model import Fleet
from migsim.fleet.report import alarms, clock, shortfalls, use_of_links
from migsim.fleet.requests import Attempt
from migsim.fleet.running import FleetOutcome, run_fleet
from migsim.units import format_seconds, format_size

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["Done", "Places", "print_run", "run_as_json", "run_logged", "write_rows"]


@dataclass(frozen=True)
class Places:
    """Where a run writes.

    Attributes:
        log: the audit log.
        rows: the table of migrations, None for none.
    """

    log: Path
    rows: Path | None

    @classmethod
    def of(cls, file: Path, log: Path | None, output: Path | None, plot: Path | None) -> Self:
        """Return the places that options name, for a scenario. Raises `InputError`."""
        default = Path(f"{file.stem}.audit.jsonl")
        if output is None or output.suffix == ".csv":
            places = cls(log or default, output)
        else:
            try:
                output.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"--output {output}: no folder: {error.strerror}") from None
            places = cls(log or output / default, output / f"{file.stem}.csv")
        named = [path.resolve() for path in (file, places.log, places.rows, plot) if path]
        twice = [path for path in named if named.count(path) > 1]
        if twice:
            raise InputError(f"{twice[0].name}: is meant for two things, expected different files")
        return places


@dataclass(frozen=True)
class Done:
    """A run that has come to its end.

    Attributes:
        outcome, history: what came out.
        verdict: on the log, now.
        there: entries that it held before.
        complete: whether it was complete before.
        wall: seconds of real time.
    """

    outcome: FleetOutcome
    history: History
    verdict: Verdict
    there: int
    complete: bool
    wall: float

    @property
    def log_words(self) -> str:
        """What was done to the log, in one sentence."""
        count = self.verdict.entries
        if self.complete:
            told = f"it was complete, and this run gives the same {count} entries"
        elif self.there:
            told = f"taken up after {self.there} entries, {count} now"
        else:
            told = f"{count} entries"
        return f"{self.verdict.path}: {told}, the last has hash {self.verdict.head[:16]}"


def run_logged(fleet: Fleet, log: Path) -> Done:
    """Run a fleet with its audit log, and read from that what happened. Raises `InputError`."""
    before = verify(log) if log.is_file() else None
    started = time.perf_counter()
    with AuditLog(log, fleet.name, digest(fleet)) as audit, _watched(audit) as recorder:
        outcome = run_fleet(fleet, recorder)
    return Done(
        outcome,
        read_history(read_entries(log)),
        verify(log),
        there=before.entries if before else 0,
        complete=before is not None and before.status == "intact",
        wall=time.perf_counter() - started,
    )


class _Watched:
    """A recorder that shows what is recorded while it is."""

    def __init__(self, recorder: Recorder, status: Status) -> None:
        self._recorder, self._status = recorder, status
        self._under_way = self._ended = 0

    def record(
        self, at: float, kind: Kind, subject: str, /, key: str = "", **details: Detail
    ) -> Entry:
        """Pass an entry on."""
        self._under_way += (kind == "started") - (kind in {"completed", "failed"})
        self._ended += kind in {"completed", "failed"}
        self._status.update(
            f"{clock(at)} of virtual time: {self._under_way} migrations under way, "
            f"{self._ended} have ended"
        )
        return self._recorder.record(at, kind, subject, key, **details)


@contextmanager
def _watched(recorder: Recorder) -> Iterator[Recorder]:
    with working("begins") as status:
        yield _Watched(recorder, status)


def write_rows(attempts: Sequence[Attempt], path: Path) -> None:
    """Write a row for each migration, whole or not at all. Raises `InputError`."""
    fields = [field.name for field in dataclasses.fields(Attempt)]
    rows = [attempt.as_dict() for attempt in attempts]
    names = list(rows[0]) if rows else fields[: fields.index("result")]
    try:
        with replaced(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"--output {path}: cannot be written: {error.strerror}") from None


def run_as_json(done: Done) -> dict[str, Any]:
    """Return all of a run as values of JSON."""
    outcome, history = done.outcome, done.history
    return {
        "name": history.name,
        "digest": history.digest,
        "log": {"path": str(done.verdict.path), "entries": done.verdict.entries,
                "head": done.verdict.head, "entries_before": done.there,
                "complete_before": done.complete},
        "seconds": outcome.seconds,
        "migrations": [attempt.as_dict() for attempt in outcome.attempts],
        "cancelled": [dataclasses.asdict(one) for one in history.cancelled],
        "downtime_seconds": history.downtime,
        "bytes_sent": history.sent,
        "links": [dataclasses.asdict(use) for use in _use(outcome)],
        "runs_at": outcome.state.runs_at,
        "alarms": alarms(history.state),
        "not_done": shortfalls(history),
        "wall_seconds": done.wall,
    }  # fmt: skip


def _use(outcome: FleetOutcome) -> Sequence[Any]:
    return use_of_links(outcome.fleet, outcome.attempts, outcome.carried)


def print_run(done: Done) -> None:
    """Print the migrations, the links, what is wrong, and where the log is."""
    print_legs(done.history)
    rows = [
        (use.link, format_size(use.bytes), format_seconds(use.seconds), f"{use.share:.0%}")
        for use in _use(done.outcome)
    ]
    if rows:
        print_table(("link", "carried", "in use for", "of its capacity"), rows, left=1)
    print_history_end(done.history)
    console().print(f"audit log {done.log_words}", style="dim", markup=False)
