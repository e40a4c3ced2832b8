"""Peers beside ours on the same recorded runs, and SimGrid's guests as a special case."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from migsim.cli.validate import validate
from migsim.hypervisor.runs import RecordedRun, read_runs, write_run
from migsim.units import GIB
from migsim.validate import contention
from migsim.validate.contention import ContentionRow, compare_contention
from migsim.validate.errors import Prediction
from migsim.validate.linear import TOLERANCE, LinearRow, compare_linear
from migsim.validate.peers import PEERS
from migsim.validate.qemu import RUNS, is_calibration


@pytest.fixture(scope="module")
def rows() -> list[LinearRow]:
    return compare_linear()


def test_simgrid_is_a_special_case(rows: list[LinearRow]) -> None:
    assert {row.memory / GIB for row in rows} == {1, 2, 4, 8, 16}
    assert {row.dirty_rate / 1e6 for row in rows} >= {0, 10, 50, 100}
    for row in rows:
        assert row.error <= TOLERANCE, row
        assert abs(row.downtime - row.simgrid_downtime) <= 0.03, row  # both keep 30 ms


def test_the_error_is_the_larger_one(rows: list[LinearRow]) -> None:
    row = dataclasses.replace(rows[0], seconds=rows[0].simgrid_seconds * 1.02)
    assert row.error == pytest.approx(0.02)
    assert dataclasses.replace(row, bytes=row.simgrid_bytes // 2).error == pytest.approx(0.5)


@pytest.fixture(scope="module")
def together() -> list[ContentionRow]:
    return compare_contention()


def test_simgrid_is_a_special_case_where_guests_share_a_link(together: list[ContentionRow]) -> None:
    """Each guest of each gang, though who shares with whom decides how much is dirtied at all."""
    assert {(row.guests, row.interval) for row in together} >= {
        (guests, interval) for guests in (1, 2, 4, 8) for interval in (0, 10)
    }
    for row in together:
        assert row.error <= contention.TOLERANCE, row
        assert max(row.downtimes) <= 0.0301, row  # both keep 30 ms, we by whole pages
    at_once = {
        row.guests: row.over for row in together if (row.interval, row.dirty_rate) == (0, 1e7)
    }
    # Not in proportion to their number: a share of 15 MB/s leaves little beside 10 MB/s dirtied.
    assert at_once[8] > 2.5 * 8 * at_once[1]


def test_the_error_of_guests_is_the_largest(together: list[ContentionRow]) -> None:
    row = together[1]
    late = (row.simgrid_seconds[0], row.simgrid_seconds[1] * 1.03)
    assert dataclasses.replace(row, seconds=late).error == pytest.approx(0.03)
    assert dataclasses.replace(row, bytes=row.simgrid_bytes // 2).error == pytest.approx(0.5)


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture
def few_rows(
    rows: list[LinearRow], together: list[ContentionRow], monkeypatch: pytest.MonkeyPatch
) -> list[LinearRow]:
    """What SimGrid's guests come to, without simulating them once more."""
    monkeypatch.setattr(contention, "compare_contention", lambda: together[:2])
    few = rows[:2]
    monkeypatch.setattr("migsim.validate.linear.compare_linear", lambda: few)
    return few


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(validate, ["peers", *map(str, arguments)])


def recorded(name: str) -> RecordedRun:
    return next(run for path in RUNS for run in read_runs(path) if run.name == name)


@pytest.fixture
def mine(tmp_path: Path) -> tuple[Path, RecordedRun]:
    """A file of a run of post-copy and one of pre-copy, and the latter."""
    path, plain = tmp_path / "mine.jsonl", recorded("idle-512")
    write_run(path, recorded("post-128-4000"))
    write_run(path, plain)
    return path, plain


def test_json(mine: tuple[Path, RecordedRun], few_rows: list[LinearRow]) -> None:
    path, plain = mine
    done = command("--runs", path, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.output)
    assert (printed["runs"], printed["plain"]["runs"]) == (2, 1)
    assert list(printed["predictors"]) == ["migsim", *PEERS]
    ours, theirs = (printed["predictors"][name] for name in ("migsim", "DSLab IaaS"))
    assert (ours["runs"]["predicted"], theirs["runs"]["predicted"]) == (2, 1)
    assert (ours["total"]["count"], theirs["total"]["count"]) == (2, 1)
    assert ours["convergence"] == {"right": 2, "count": 2}
    assert ours["total"]["worst"] < 0.05
    # DSLab's rule: memory by rate, here the memory that holds data.
    said = (plain.memory - 4096 * plain.zero_pages) / plain.parameters["max-bandwidth"]
    error = abs(said / plain.measured.total_seconds - 1)
    assert theirs["total"]["median"] == pytest.approx(error)
    assert printed["plain"]["predictors"]["DSLab IaaS"] == theirs
    assert printed["plain"]["predictors"]["migsim"]["total"]["count"] == 1
    assert [row["simgrid_seconds"] for row in printed["linear"]] == [
        row.simgrid_seconds for row in few_rows
    ]
    assert [row["error"] for row in printed["linear"]] == [row.error for row in few_rows]
    assert [row["guests"] for row in printed["contention"]] == [1, 2]
    assert all(0 < row["error"] < contention.TOLERANCE for row in printed["contention"])

    printed = json.loads(command("--runs", path, "--json", "--all-memory").output)
    error = abs(plain.memory / plain.parameters["max-bandwidth"] / plain.measured.total_seconds - 1)
    theirs = printed["predictors"]["DSLab IaaS"]
    assert theirs["total"]["median"] == pytest.approx(error)


def test_tables(mine: tuple[Path, RecordedRun], few_rows: list[LinearRow]) -> None:
    done = command("--runs", mine[0])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[1:3] for line in lines if line.startswith("migsim ")] == [
        ["2", "2"], ["1", "1"],
    ]  # fmt: skip
    assert [line.split()[2:4] for line in lines if line.startswith("DSLab IaaS")] == [
        ["1", "1"]
    ] * 2
    assert sum(line.strip().startswith("1 GiB") for line in lines) == 2
    worst = max(row.error for row in few_rows)
    assert lines[-1].endswith(f"differ by {worst:.2%} at most, claimed: 1%")
    brief = command("--runs", mine[0], "--summary").output.splitlines()
    assert brief[-2:] == lines[-2:]
    assert sum(line.split()[2:4] == ["s", "10"] for line in lines) == 2  # guests, apart, dirtied
    assert lines[-2].endswith("at most, claimed: 0.1%")
    assert not [line for line in brief if "GiB" in line]


def test_a_difference_from_simgrid_fails(
    mine: tuple[Path, RecordedRun],
    rows: list[LinearRow],
    few_rows: list[LinearRow],
    together: list[ContentionRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    off = dataclasses.replace(rows[0], seconds=rows[0].seconds * 1.02)
    monkeypatch.setattr("migsim.validate.linear.compare_linear", lambda: [rows[1], off])
    assert command("--runs", mine[0]).exit_code == 1
    assert command("--runs", mine[0], "--json").exit_code == 1
    monkeypatch.setattr("migsim.validate.linear.compare_linear", lambda: few_rows)
    assert command("--runs", mine[0]).exit_code == 0
    off_together = dataclasses.replace(together[0], bytes=2 * together[0].bytes)
    monkeypatch.setattr(contention, "compare_contention", lambda: [off_together])
    assert command("--runs", mine[0]).exit_code == 1


def test_without_a_file_it_is_the_runs_on_which_nothing_was_fitted(
    few_rows: list[LinearRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RecordedRun] = []

    def silent(runs: Sequence[RecordedRun]) -> list[Prediction]:
        asked.extend(runs)
        return [Prediction(reason="made up")] * len(runs)

    monkeypatch.setattr("migsim.validate.qemu.predict_all", silent)
    printed = json.loads(command("--json").output)
    every = [run for path in RUNS for run in read_runs(path)]
    assert asked == [run for run in every if not is_calibration(run)]
    assert printed["runs"] == len(asked) > 0
    ours = printed["predictors"]["migsim"]
    assert (ours["runs"]["predicted"], ours["total"]["count"]) == (0, 0)


def test_a_run_that_makes_no_sense_does_not_keep_the_others(
    mine: tuple[Path, RecordedRun], few_rows: list[LinearRow]
) -> None:
    path, plain = mine
    write_run(path, msgspec.structs.replace(plain, parameters={"max-bandwidth": "fast"}))
    printed = json.loads(command("--runs", path, "--json").output)
    assert printed["runs"] == 3
    assert printed["predictors"]["migsim"]["runs"]["predicted"] == 2
    assert printed["predictors"]["SimGrid"]["runs"]["predicted"] == 1
