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


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture
def few_rows(rows: list[LinearRow], monkeypatch: pytest.MonkeyPatch) -> list[LinearRow]:
    """What SimGrid's guests come to, without simulating them once more."""
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
    assert brief[-1] == lines[-1]
    assert not [line for line in brief if "GiB" in line]


def test_a_difference_from_simgrid_fails(
    mine: tuple[Path, RecordedRun], rows: list[LinearRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    off = dataclasses.replace(rows[0], seconds=rows[0].seconds * 1.02)
    monkeypatch.setattr("migsim.validate.linear.compare_linear", lambda: [rows[1], off])
    assert command("--runs", mine[0]).exit_code == 1
    assert command("--runs", mine[0], "--json").exit_code == 1


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
