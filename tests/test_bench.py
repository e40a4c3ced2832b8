"""``migsim bench``: its sections on tiny cases, what it prints, and what it says of bad input."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT

from migsim.bench import (
    child,
    measure,
    profiles,
    replay,
    rivals,
    scale,
    sections,
    simgrid,
    startup,
    sweeping,
)
from migsim.bench import pieces as others
from migsim.bench.cases import Case
from migsim.bench.rows import Row, Target, formatted, write_csv
from migsim.cli.main import main
from migsim.errors import InputError
from migsim.pages import Pages
from migsim.task import Task
from migsim.units import MIB
from migsim.validate.linear import linear_task

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Shell:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["migsim", "bench", *arguments])
        status: Any = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        return status, *capsys.readouterr()

    return run


# ---- rows --------------------------------------------------------------------------------------


def row(**changes: Any) -> Row:
    plain: dict[str, Any] = {
        "section": "replay", "case": "c", "quantity": "q", "value": 3.0, "unit": "s",
    }  # fmt: skip
    return Row(**{**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, None),
        ({"target": Target(most=3.0)}, True),
        ({"target": Target(most=2.9)}, False),
        ({"target": Target(least=3.1)}, False),
        ({"target": Target(most=2.9), "value": None}, None),
        ({"target": Target(least=0.8, of_ratio=True), "reference": 3.75}, True),
        ({"target": Target(least=0.8, of_ratio=True), "reference": 3.76}, False),
        ({"target": Target(least=0.8, of_ratio=True)}, None),  # nothing to compare with
    ],
)
def test_whether_a_target_is_met(changes: dict[str, Any], met: bool | None) -> None:
    assert row(**changes).met is met


def test_ratio_and_words() -> None:
    one = row(reference=1.5, target=Target(most=3.0, of_ratio=True), details={"extra": 1.0})
    assert one.as_dict() == {
        "section": "replay", "case": "c", "quantity": "q", "value": 3.0, "unit": "s",
        "beside": "", "reference": 1.5, "ratio": 2.0, "target": "3 x at most", "met": True,
        "note": "", "extra": 1.0,
    }  # fmt: skip
    assert row(reference=0.0).ratio is None
    assert formatted(1.5e9, "bytes/s") == "1.5 GB/s"
    assert formatted(0.5, "1/s") == "0.5/s"


def test_rows_as_csv(tmp_path: Path) -> None:
    write_csv([row(details={"extra": 1.0}), row(value=None, note="a, b")], tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["value"], second["value"], second["note"]) == ("3.0", "", "a, b")
    assert "extra" not in first


# ---- timing ------------------------------------------------------------------------------------


def test_functions_take_turns_and_the_first_turn_is_not_counted() -> None:
    calls: list[str] = []
    found = measure.best(lambda: calls.append("a"), lambda: calls.append("b"), runs=2)
    assert calls == ["a", "b"] * 3
    assert len(found) == 2


def test_what_takes_long_is_run_once() -> None:
    calls: list[int] = []
    (found,) = measure.best(lambda: calls.append(1), budget=1e-9)
    assert calls == [1]
    assert found > 0.0


def test_a_child_measures_itself() -> None:
    found = measure.in_child({})
    assert found.error == ""
    assert 4 * MIB < found.peak_bytes < 1024 * MIB
    assert measure.in_child({}, limit=1e-3).error == "ended after 0.001 s"


def test_a_child_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: no\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: broken)
    assert measure.in_child({}).error == "ValueError: no"
    silent = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: silent)
    assert measure.in_child({}).error == "ended with status -9"


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let children's cases run in this process, and return what they were asked."""
    asked: list[dict[str, Any]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(json.loads(command[-1]))
        return subprocess.CompletedProcess(command, 0, json.dumps(child.main(command[-1])), "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(child, "_leave_memory_to_others", lambda: None)
    return asked


def test_both_kinds_of_case_in_a_child(in_this_process: list[dict[str, Any]]) -> None:
    case = {"memory": MIB, "working_set": MIB, "rate": 1e3, "link": "gigabit"}
    task = {"algorithm": "precopy", "workload": "uniform", "memory": MIB,
            "workload_args": {"working_set": MIB, "rate": 1e3}}  # fmt: skip
    ours, numpy = measure.in_child({"task": task}), measure.in_child({"numpy": case})
    assert ours.told["pages_sent"] == numpy.told["pages_sent"] >= 256
    assert ours.told["accesses"] == numpy.told["accesses"]
    down = {**task, "link_args": {"outages": "0s+inf"}}
    assert measure.in_child({"task": down}).error.startswith("gave_up: there was no")


# ---- sections ----------------------------------------------------------------------------------


def test_the_bare_loop_sets_what_the_engine_logs() -> None:
    migration = replay.running(MIB)
    migration.wait(50 / replay.WRITES_PER_SECOND)
    pages = np.empty(50, np.int64)
    workload = replay.make_workload("uniform(working_set=100%)", migration.vm, 0)
    workload.accesses(0, pages, np.empty(50))
    words = np.zeros(4, np.uint64)
    replay.set_bits(pages, words)
    assert Pages(words, 256) == migration.peek_dirty()


def test_replay() -> None:
    beside, alone = replay.rows([MIB], 1000, runs=1)
    assert (beside.beside, beside.value) == ("bare loop", alone.value)
    assert beside.details == {"accesses": 1000}
    assert beside.ratio is not None
    assert alone.met is not None


def test_replay_is_of_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "set_bits", lambda pages, words: None)
    with pytest.raises(AssertionError, match="have set"):
        list(replay.rows([MIB], 100, runs=1))


def test_scale(in_this_process: list[dict[str, Any]]) -> None:
    guest = scale.Guest(name="tiny", memory=MIB, rate=1e4, working_set=MIB // 2, link="10g",
                        seconds=1e-9, peak_bytes=1e12)  # fmt: skip
    found = {(one.case, one.quantity): one for one in scale.rows([guest])}
    assert len(in_this_process) == 3  # one to compile, one that is small, and the guest
    assert in_this_process[-1]["task"]["workload_args"] == {"rate": 1e4, "working_set": MIB // 2}
    real = found["tiny", "real time"]
    assert real.met is False
    assert real.details["pages_sent"] >= 256
    assert real.beside == "virtual time"
    assert found["tiny", "peak resident memory"].met is True


def test_a_guest_that_was_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "in_child", lambda spec: measure.Measured(error="no memory"))
    *_, last = scale.rows(scale.QUICK[:1])
    assert (last.value, last.note, last.met) == (None, "no memory", None)


def test_targets_of_scale_are_those_of_the_issue() -> None:
    wanted = {guest.name[:6]: (guest.seconds, guest.peak_bytes) for guest in scale.CASES}
    assert wanted["1 TiB,"] == (10.0, 300e6)
    assert wanted["24 TiB"] == (60.0, 4 * 1024 * MIB)


def test_numpy_and_xbzrle() -> None:
    (one,) = rivals.precopies({"tiny": Case(MIB, MIB, 1e3, "gigabit")}, runs=1)
    assert (one.beside, one.details["pages_sent"]) == ("NumPy", 265)
    assert [each.case for each in rivals.encodings(16, runs=1)] == [
        f"XBZRLE of pages with {words} changed words" for words in (1, 10, 100)
    ]


def test_transfers() -> None:
    assert len({one.case for one in others.transfers(10**6, runs=1)}) == 3


def test_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[tuple[str, ...], dict[str, str]]] = []
    monkeypatch.setattr(startup, "_run", lambda what, **changes: ran.append((what, changes)))
    warm = list(startup.warm(runs=1))
    assert [one.target.words("s") for one in warm if one.target] == [
        "150 ms at most", "300 ms at most", "700 ms at most",
    ]  # fmt: skip
    startup.cold()
    assert list(ran[-1][1]) == ["NUMBA_CACHE_DIR"]
    assert not Path(ran[-1][1]["NUMBA_CACHE_DIR"]).exists()  # it was empty, and is gone


def test_sweep() -> None:
    checked, alone = sweeping.rows(16, workers=1, dask=False, warm=8)
    assert checked.quantity == "checked"
    assert (alone.case, alone.quantity) == ("one process", "tasks a second")
    assert {task.algorithm for task in sweeping.migrations(16)} == set(sweeping.ALGORITHMS)
    took = {"one process": [2.0] * 5, "2 processes": [1.0] * 5}
    *_, last = sweeping.told(took, 16, 2, Target(least=1.0))
    assert (last.value, last.met) == (1.0, True)


# ---- SimGrid -----------------------------------------------------------------------------------

HARNESS = """#!/bin/sh
echo "$1,$2,$3,125000000,5e-05,split,1000000000,{seconds},0.03,0,1"
echo "0.5 0.25" >&2
"""


def harness(folder: Path, seconds: float) -> Path:
    path = folder / "harness"
    path.write_text(HARNESS.format(seconds=seconds))
    path.chmod(0o755)
    return path


def test_simgrid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from migsim import run

    task = linear_task(16 * MIB, 16 * MIB * 9 // 10, 25e6)
    monkeypatch.setattr(simgrid, "build", lambda: harness(tmp_path, run(task).total_seconds / 0.98))
    point, *summary = simgrid.rows([16 * MIB], [25e6], runs=2)
    assert point.case == "16 MiB, 25 MB/s dirtied"
    assert (point.reference, point.details["simgrid_run_seconds"]) == (0.5, 0.25)
    assert point.note == "total time differs by 2.000%"
    found = {one.quantity: one for one in summary}
    assert found["median of ratios to its engine"].value == point.ratio
    assert found["median of ratios to its engine"].target == Target(most=3.0)
    assert found["largest difference of total times"].met is False


@pytest.mark.parametrize("compiler", ["none", "broken"])
def test_without_simgrid_one_line_says_so(
    compiler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if compiler == "broken":
        (tmp_path / "g++").write_text(
            "#!/bin/sh\necho 'x.cpp: fatal error: no s4u.hpp' >&2; exit 1"
        )
        (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":" if compiler == "broken" else None)
    if compiler == "none":
        monkeypatch.setattr("shutil.which", lambda name: None)
    (one,) = simgrid.rows([MIB], [0.0], runs=1)
    assert one.value is None
    assert "expected" in one.note
    assert "libsimgrid-dev" in one.note


def test_the_harness_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built: list[list[str]] = []

    def compile_it(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        built.append(command)
        Path(command[command.index("-o") + 1]).write_text("program")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", compile_it)
    assert simgrid.build(tmp_path) == simgrid.build(tmp_path)
    assert len(built) == 1
    assert built[0][-1] == "-lsimgrid"


# ---- profiles ----------------------------------------------------------------------------------


def test_profiles(tmp_path: Path) -> None:
    task = Task(algorithm="precopy", workload="uniform", memory="1MiB")
    told: list[Path] = []
    cases = {"one": ("one", task, 1), "some": ("some", task, 2)}
    profiles.write_profiles(tmp_path, cases, told.append)
    assert [path.name for path in told] == ["one.txt", "some.txt"]
    text = told[0].read_text()
    assert text.startswith("one\ncompleted in ")
    assert "migsim/source.py:" in text
    assert str(ROOT) not in text
    own = [float(line.split("%")[0]) for line in text.splitlines() if "% " in line]
    assert own == sorted(own, reverse=True)
    assert told[1].read_text().splitlines()[1] == "2 rows"


def test_all_profiles_are_committed() -> None:
    folder = ROOT / "tests/benchmarks/profiles"
    assert {path.stem for path in folder.glob("*.txt")} == set(profiles.CASES)
    for path in folder.glob("*.txt"):
        assert path.read_text().startswith(profiles.CASES[path.stem][0])


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Let each section give two rows, and return which were measured and how briefly."""
    measured: list[tuple[str, bool]] = []

    def section(name: str) -> Callable[[bool], Iterator[Row]]:
        def measure(quick: bool) -> Iterator[Row]:
            measured.append((name, quick))
            yield row(section=name, case="[one]", target=Target(most=1.0), note="[/red]")
            yield row(section=name, case="[one]", value=None, reference=2.0, beside="NumPy")

        return measure

    monkeypatch.setattr(sections, "section", section)
    return measured


def test_all_sections_in_order(shell: Shell, made_up: list[tuple[str, bool]]) -> None:
    status, out, err = shell("--quick")
    assert (status, err) == (0, "")
    assert made_up == [(name, True) for name in sections.SECTIONS]
    lines = out.splitlines()
    assert lines[0].startswith("processor ")
    assert "3 s" in out
    assert sum(line.startswith("[one]") for line in lines) == len(sections.SECTIONS)
    assert all(" no " in line for line in lines if line.startswith("[one]"))


def test_some_sections_as_json_and_csv(shell: Shell, made_up: list[tuple[str, bool]]) -> None:
    status, out, _ = shell("--only", "sweep", "--only", "replay", "--json", "--output", "rows.csv")
    assert status == 0
    assert made_up == [("replay", False), ("sweep", False)]
    told = json.loads(out)
    assert [one["section"] for one in told["rows"]] == ["replay", "replay", "sweep", "sweep"]
    assert set(told["machine"]) == {"processor", "cores", "python", "numba", "numpy"}
    with Path("rows.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_the_help_names_all_sections(shell: Shell) -> None:
    _, out, _ = shell("--help")
    assert f"Sections: {', '.join(sections.SECTIONS)}" in " ".join(out.split())
    assert all(callable(sections.section(name)) for name in sections.SECTIONS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "replays"], "there is no section 'replays', did you mean 'replay'?"),
        (["--output", "no/rows.csv"], "--output no/rows.csv: there is no such directory"),
        (["--profiles", "file"], "--profiles file: is a file, expected a folder"),
        (["--profiles", "/proc/none"], "--profiles /proc/none: cannot be written"),
        (["--profiles", "p", "--quick"], "bench: --profiles goes with no other option"),
    ],
)
def test_bad_input(shell: Shell, arguments: list[str], sentence: str) -> None:
    Path("file").touch()
    status, out, err = shell(*arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_no_section_of_that_name() -> None:
    with pytest.raises(InputError, match="there is no section"):
        sections.chosen(["all"])
    assert sections.chosen(["sweep", "scale"]) == ["scale", "sweep"]
