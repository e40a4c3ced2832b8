"""``migsim plot``: every kind of figure, on whatever results, and one sentence for what is bad."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
from test_cli import Ended, Shell

from migsim import Task
from migsim.collect import collect
from migsim.recall import task_of
from migsim.results import load_results
from migsim.store import Store, frame

RATES, LINKS = ("5MB/s", "60MB/s", "400MB/s"), ("0.3Gbit/s", "1Gbit/s")


def tasks() -> list[Task]:
    return [
        Task(
            algorithm=algorithm, workload="uniform", memory="16MiB", seed=seed,
            workload_args={"rate": rate, "working_set": "8MiB"}, link_args={"rate": link},
            algorithm_args={"max_rounds": 3} if algorithm == "precopy" else {},
        )
        for algorithm in ("precopy", "postcopy", "hybrid")
        for rate in RATES
        for link in LINKS
        for seed in (0, 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("results")
    with Store(where) as store:
        collect(tasks(), store, workers=1)
    return where


@pytest.fixture(scope="module")
def table(folder: Path) -> Path:
    path = folder / "results.csv"
    load_results(folder).to_csv(path, index=False)
    return path


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys, monkeypatch)


KINDS = {
    "bars": ["bars"],
    "bars-log": ["bars", "--log", "--value", "bytes_sent"],
    "heat": ["heat", "--x", "link.rate", "--y", "workload.rate"],
    "heat-by": ["heat", "--x", "link.rate", "--y", "workload.rate", "--by", "seed",
                "--value", "total_seconds", "--limit", "50ms"],
    "pareto": ["pareto"],
    "pareto-means": ["pareto", "--means"],
    "faults": ["faults", "--where", "seed == 0"],
    "ranks": ["ranks"],
    "profiles": ["profiles", "--value", "downtime_seconds"],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_is_drawn_without_warnings_and_always_the_same(
    shell: Shell,
    folder: Path,
    table: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    command, *options = KINDS[kind]
    written = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k, path in enumerate((folder, table)):
            to = tmp_path / f"{k}.png"
            ended = shell("plot", command, path, *options, "--output", to, "--title", "made")
            assert ended == Ended(0, f"written: {to}\n", "")
            written.append(to.read_bytes())
    assert written[0].startswith(b"\x89PNG")
    assert written[0] == written[1]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_each_format_has_the_same_bytes_twice(shell: Shell, table: Path, ending: str) -> None:
    files = [Path(f"{k}.{ending}") for k in range(2)]
    for file in files:
        assert shell("plot", "pareto", table, "--width", "column", "--output", file).status == 0
    assert files[0].read_bytes() == files[1].read_bytes()


GIVEN = ["--algorithm", "qemu", "--workload", "uniform", "--link", "gigabit", "--memory", "16MiB",
         "-w", "rate=50MB/s", "-w", "working_set=8MiB"]  # fmt: skip


def test_a_timeline_of_what_is_given(shell: Shell, tmp_path: Path) -> None:
    assert shell("plot", "timeline", *GIVEN, "--output", "one.png").out == "written: one.png\n"
    shell("plot", "timeline", *GIVEN, "--output", "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_timeline_of_a_stored_result(shell: Shell, folder: Path, table: Path) -> None:
    key = load_results(folder)["key"].iloc[3]
    for k, path in enumerate((folder, table)):
        options = ["--from", path, "--key", key[:14], "--output", f"{k}.png"]
        assert shell("plot", "timeline", *options).status == 0
    assert Path("0.png").read_bytes() == Path("1.png").read_bytes()


def test_a_migration_that_gives_up_is_drawn_with_that_word(shell: Shell) -> None:
    never = ["-w", "rate=900MB/s", "-w", "working_set=16MiB", "-a", "downtime_limit=1ms"]
    options = [*GIVEN[:-4], *never, "-a", "cancel_after=2s"]
    ended = shell("plot", "timeline", *options, "--output", "x.png")
    assert ended.status == 0
    assert "did not complete (gave_up)" in ended.out


def test_stored_rows_give_their_tasks(folder: Path, table: Path) -> None:
    for path in (folder, table):
        for _, row in load_results(path).iterrows():
            assert task_of(row.to_dict()).key == row["key"]


def test_left_out_migrations_are_counted(shell: Shell, table: Path) -> None:
    results = pd.read_csv(table, dtype=str, keep_default_na=False)
    results.loc[results["algorithm"] == "hybrid", "status"] = "gave_up"
    results.to_csv("ended.csv", index=False)
    for kind in sorted(KINDS):
        command, *options = KINDS[kind]
        if kind == "pareto-means":
            continue
        ended = shell("plot", command, "ended.csv", *options, "--output", "x.png")
        assert ended.status == 0, ended.err
        assert "migrations did not complete and are left out" in ended.out


def test_conditions_choose_rows(shell: Shell, table: Path) -> None:
    some = ["--where", "link.rate > 1e8 and algorithm != 'hybrid'", "--where", "seed == 1"]
    assert shell("plot", "bars", table, *some, "--output", "x.png").status == 0
    ended = shell("plot", "bars", table, "--where", "seed == 7", "--output", "x.png")
    assert ended.status == 2
    assert "there are no results for which --where holds" in ended.err


BAD = {
    "no such file": (["bars", "nowhere.csv"], "nowhere.csv"),
    "a folder without": (["bars", "."], "rows.jsonl"),
    "a condition": (["bars", "TABLE", "--where", "seed ==="], "--where seed ==="),
    "an unknown name": (["bars", "TABLE", "--where", "sed == 1"], "no column 'sed', did you mean"),
    "no condition": (["bars", "TABLE", "--where", "seed + 1"], "--where seed + 1"),
    "a column": (["bars", "TABLE", "--value", "total_second"], "did you mean 'total_seconds'"),
    "a text": (["bars", "TABLE", "--value", "algorithm"], "expected a column of numbers"),
    "twice": (["heat", "TABLE", "--x", "seed", "--y", "seed"], "expected different columns"),
    "a limit": (["heat", "TABLE", "--x", "link.rate", "--y", "seed", "--limit", "5kg"], "--limit"),
    "one scenario": (["ranks", "TABLE", "--where", "link.rate > 1e8 and workload.rate < 2000"],
                     "expected two or more of both"),
    "no faults": (["faults", "TABLE", "--where", "algorithm == 'precopy'"], "had faults"),
    "no key": (["timeline", "--from", "TABLE"], "--key"),
    "an unknown key": (["timeline", "--from", "TABLE", "--key", "zz"], "no result has a key"),
    "many keys": (["timeline", "--from", "TABLE", "--key", ""], "36 results have a key"),
    "both": (["timeline", "--from", "TABLE", "--key", "a", "-w", "rate=1"], "exclude each other"),
    "nothing": (["timeline"], "--algorithm, --workload, --link not given"),
    "runs": (["predicted", "nowhere.jsonl"], "nowhere.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_input_is_told_in_one_sentence(shell: Shell, table: Path, name: str) -> None:
    arguments, expected = BAD[name]
    given = [str(table) if word == "TABLE" else word for word in arguments]
    ended = shell("plot", *given, "--output", "x.png")
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert expected in ended.err
    assert not Path("x.png").exists()


@pytest.mark.parametrize("to", ["x.gif", "nowhere/x.png", "."])
def test_a_figure_that_cannot_be_written_is_told_first(shell: Shell, table: Path, to: str) -> None:
    ended = shell("plot", "bars", table, "--output", to)
    assert ended.status == 2
    assert ended.err.startswith(f"migsim: --output {to}: ")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("model", 3, "it is of model version 3"),
        ("algorithm_digest", "0" * 64, "the algorithm's source has changed since"),
        ("vm.vcpus", 2, "a parameter or its default has changed since"),
        ("seed", float("nan"), "it has no 'seed'"),
    ],
)
def test_what_has_changed_since_is_not_simulated_again(
    shell: Shell,
    folder: Path,
    column: str,
    value: object,
    expected: str,
) -> None:
    row = load_results(folder).iloc[:1].copy()
    if column == "algorithm_digest":
        row["key"] = "f" * 64
    row[column] = value
    row.to_csv("changed.csv", index=False)
    options = ["--from", "changed.csv", "--key", row["key"].iloc[0], "--output", "x.png"]
    ended = shell("plot", "timeline", *options)
    assert ended.status == 2
    assert expected in ended.err


def test_recorded_runs_of_ones_own_are_drawn(shell: Shell) -> None:
    from migsim.validate.qemu import RUNS

    lines = next(iter(RUNS)).read_text().splitlines()[:3]
    assert all(json.loads(line) for line in lines)
    Path("mine.jsonl").write_text("\n".join(lines) + "\n")
    ended = shell("plot", "predicted", "mine.jsonl", "--output", "x.png", "--title", "mine")
    assert ended.status == 0, ended.err
    assert frame([]).empty
