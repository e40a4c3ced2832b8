"""The suite and the commands, with runs that are made up: resume, output, stops, bad input."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers import ROOT

from migsim.cli.main import main
from migsim.cli.qemu import print_outcome
from migsim.errors import InputError
from migsim.hypervisor import live
from migsim.hypervisor.guest import Kit
from migsim.hypervisor.live import Tools, _is_due, _migrate
from migsim.hypervisor.qemu import Program
from migsim.hypervisor.runs import GuestLoad, Measured, RecordedRun, read_runs, write_run
from migsim.hypervisor.scenario import Scenario
from migsim.hypervisor.suite import check_known, held, missing, run_missing
from migsim.units import MIB
from migsim.validate.qemu import predict

TOOLS = Tools(
    Program("qemu", "10.0.2"),
    Kit(Path("vmlinuz-1"), Path("guest-1.cpio.gz"), Path("relay-1")),
    "tcg",
)
SCENARIOS = [
    Scenario(name=name, memory=256 * MIB, workload=GuestLoad(kind="uniform", rate=rate))
    for name, rate in (("slow", 10.0), ("quick", 1000.0))
]


def made_up(scenario: Scenario, tools: Tools, *, repeat: int = 0, **_: Any) -> RecordedRun:
    return RecordedRun(
        name=scenario.name, repeat=repeat, hypervisor=f"qemu {tools.program.version} tcg",
        memory=scenario.memory, zero_pages=10, workload=scenario.workload,
        capabilities=scenario.capabilities, parameters=scenario.parameters,
        measured=Measured(
            status="completed", total_seconds=5.25, downtime_seconds=0.012, normal_pages=7,
            transferred_bytes=123456789, dirty_syncs=3,
        ),
    )  # fmt: skip


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace the running; return what was run."""
    done: list[tuple[str, int]] = []

    def run(scenario: Scenario, tools: Tools, *, repeat: int = 0, **more: Any) -> RecordedRun:
        done.append((scenario.name, repeat))
        more["tell"]("boots")
        return made_up(scenario, tools, repeat=repeat)

    monkeypatch.setattr("migsim.hypervisor.suite.run", run)
    monkeypatch.setattr(live, "run", run)
    monkeypatch.setattr("migsim.cli.qemu._tools", lambda *_: lambda _: TOOLS)
    return done


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["migsim", "qemu", *map(str, arguments)])
    try:
        main()
    except SystemExit as exit_:
        assert isinstance(exit_.code, int)
        return exit_.code
    return 0


def test_what_a_file_holds_is_not_run_again(tmp_path: Path, ran: list[tuple[str, int]]) -> None:
    output = tmp_path / "runs.jsonl"
    assert check_known(output, SCENARIOS) == []
    write_run(output, made_up(SCENARIOS[1], TOOLS))
    todo = missing(SCENARIOS, 2, check_known(output, SCENARIOS))
    assert [(item.name, repeat) for item, repeat in todo] == [
        ("slow", 0), ("slow", 1), ("quick", 1)
    ]  # fmt: skip
    told: list[str] = []
    for number, _ in enumerate(run_missing(todo, lambda _: TOOLS, output, "x", told.append), 2):
        assert len(read_runs(output)) == number  # written before the next one starts
    assert ran == [("slow", 0), ("slow", 1), ("quick", 1)]
    assert told[:2] == ["slow: starts", "slow: boots"]
    assert missing(SCENARIOS, 2, check_known(output, SCENARIOS)) == []


def test_another_scenario_of_the_same_name_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "runs.jsonl"
    other = Scenario(name="slow", memory=256 * MIB, workload=GuestLoad(kind="uniform", rate=11.0))
    write_run(output, made_up(other, TOOLS))
    with pytest.raises(InputError, match="'slow' was recorded with workload"):
        check_known(output, SCENARIOS)
    larger = [msgspec.structs.replace(SCENARIOS[0], memory=512 * MIB)]
    output.unlink()
    write_run(output, made_up(SCENARIOS[0], TOOLS))
    with pytest.raises(InputError, match="'slow' was recorded with memory 268435456"):
        check_known(output, larger)


def test_a_run_is_in_the_file_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "runs.jsonl"
    run = made_up(SCENARIOS[0], TOOLS)
    write_run(output, run)
    output.write_bytes(output.read_bytes().removesuffix(b"\n"))  # as an editor may leave it
    write_run(output, run)
    assert read_runs(output) == [run, run]
    whole, write, room = output.read_bytes(), os.write, iter([10])

    def full(descriptor: int, data: bytes) -> int:
        for left in room:
            return write(descriptor, data[:left])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("migsim.hypervisor.runs.os.write", full)
    with pytest.raises(InputError, match=r"runs\.jsonl: cannot be written: No space left"):
        write_run(output, run)
    assert output.read_bytes() == whole


SCENARIO = 'memory = "256MiB"\n[workload]\nkind = "uniform"\nrate = 10\n'


def test_the_suite_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, int]]
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text(SCENARIO)
    output = tmp_path / "runs.jsonl"
    assert call(monkeypatch, "suite", tmp_path / "b.toml", "--output", output) == 0
    assert call(monkeypatch, "suite", tmp_path, "--repeats", 2, "--output", output) == 0
    assert ran == [("b", 0), ("a", 0), ("a", 1), ("b", 1)]
    assert len(read_runs(output)) == 4


@pytest.mark.parametrize(
    ("error", "status", "kept"),
    [
        (KeyboardInterrupt(), 130, [0]),
        (RuntimeError("the guest died"), 1, [0, 2]),
        (InputError("the guest died"), 1, [0, 2]),
        (OSError("the guest died"), 1, [0, 2]),
    ],
)
def test_a_suite_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, int]],
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, kept: list[int],
) -> None:  # fmt: skip
    (tmp_path / "a.toml").write_text(SCENARIO)
    output = tmp_path / "runs.jsonl"

    def run(scenario: Scenario, tools: Tools, *, repeat: int = 0, **_: Any) -> RecordedRun:
        if repeat == 1:
            raise error
        return made_up(scenario, tools, repeat=repeat)

    monkeypatch.setattr("migsim.hypervisor.suite.run", run)
    suite = ("suite", tmp_path, "--repeats", 3, "--output", output)
    assert call(monkeypatch, *map(str, suite)) == status
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert ("a 1: failed, the guest died" in told) == (status == 1)
    assert [run.repeat for run in read_runs(output)] == kept


def test_run_prints_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "mine.toml").write_text(SCENARIO)
    output = tmp_path / "runs.jsonl"
    for _ in range(2):  # a second call adds further repetitions
        assert call(monkeypatch, "run", tmp_path / "mine.toml", "--output", output) == 0
    assert ran == [("mine", 0), ("mine", 1)]
    told = capsys.readouterr().out
    for text in ("mine on qemu 10.0.2 tcg: completed", "5.250 s", "12.0 ms", "123.5 MB"):
        assert text in told


def recorded(name: str, **changes: Any) -> RecordedRun:
    """The first of the runs of that name that are in the repository."""
    runs = read_runs(ROOT / "migsim/data/qemu-runs/given.jsonl")
    found = next(run for run in runs if run.name == name)
    return msgspec.structs.replace(found, **changes)


def cells(text: str) -> dict[str, list[str]]:
    """Return what stands right of the names in a table."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {name: more for name, *more in rows}


def test_the_outcome_is_printed_beside_what_is_predicted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = recorded("post-128-4000")
    print_outcome(run)
    told = capsys.readouterr().out
    assert told.splitlines()[0] == f"{run.name} on {run.hypervisor}: completed"
    found = cells(told)
    said = predict(run)
    assert said.total is not None
    assert said.bytes is not None
    error = said.total / run.measured.total_seconds - 1
    assert found["total time"] == ["7.031 s", f"{said.total:.2f} s", f"{error:+.1%}"]
    error = said.bytes / run.measured.transferred_bytes - 1
    assert found["bytes"][1:] == [f"{said.bytes / 1e6:.1f} MB", f"{error:+.1%}"]
    assert found["dirty log read"] == ["2 times", "2", "+0.0%"]
    assert said.postcopy_requests is not None
    error = said.postcopy_requests / 95 - 1
    assert found["pages requested"] == ["95", f"{said.postcopy_requests}", f"{error:+.1%}"]
    assert len(found["downtime"]) == 3
    assert len(found["pages"]) == 1  # of those nothing is predicted


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capabilities": ("compress",)}, "not predicted: capabilities has compress"),
        ({"time_limit_seconds": 1.0}, "predicted: does not end"),
        ({"measured": Measured(status="cancelled", total_seconds=9.0)}, "predicted: ends"),
    ],
)
def test_an_outcome_that_cannot_be_compared(
    changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"postcopy_after_seconds": None, "capabilities": (), **changes}
    print_outcome(recorded("post-128-4000", **changes))
    told = capsys.readouterr().out
    assert told.splitlines()[-1].startswith(words)
    assert len(cells(told)["total time"]) == 1


def test_a_file_is_written_by_one_migsim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "a.toml").write_text(SCENARIO)
    output = tmp_path / "runs.jsonl"
    with held(output):
        for command in (("run", tmp_path / "a.toml"), ("suite", tmp_path)):
            assert call(monkeypatch, *command, "--output", output) == 2
            assert "runs.jsonl: another migsim is writing to it" in capsys.readouterr().err
    assert not output.exists()  # nothing came of it
    assert ran == []
    assert call(monkeypatch, "run", tmp_path / "a.toml", "--output", output) == 0
    with held(output):
        pass
    assert len(read_runs(output)) == 1


def test_names_are_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "a.toml").write_text(f'name = "a[/b]"\n{SCENARIO}')
    assert call(monkeypatch, "suite", tmp_path, "--output", tmp_path / "runs.jsonl") == 0
    assert "a[/b] 0: completed" in capsys.readouterr().err
    assert call(monkeypatch, "run", tmp_path / "a.toml") == 0


def test_bad_input_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text("memory = 1")
    for arguments in (
        ["run", tmp_path / "bad.toml"],
        ["run", "nonsense"],
        ["run", "idle-512", "--output", tmp_path / "none" / "x"],
        ["run", "idle-512", "--output", "/sys/runs.jsonl"],
        ["run", "idle-512", "--qemu", tmp_path / "none"],
        ["suite", tmp_path, "--output", tmp_path / "x"],
    ):
        assert call(monkeypatch, *arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_when_postcopy_is_due() -> None:
    plain = {"name": "x", "memory": 256 * MIB, "capabilities": ("postcopy-ram",)}
    rounds = Scenario(**plain, postcopy_after_rounds=2)  # type: ignore[arg-type]
    seconds = Scenario(**plain, postcopy_after_seconds=0.0)  # type: ignore[arg-type]
    never = Scenario(**plain)  # type: ignore[arg-type]
    syncs = [{"ram": {"dirty-sync-count": count}} for count in range(5)]
    assert [_is_due(rounds, 9.0, answer) for answer in syncs] == [False, False, False, True, True]
    assert not _is_due(rounds, 9.0, {})
    assert _is_due(seconds, 0.0, {})
    assert not _is_due(never, 9.0, syncs[4])


class Fake:
    """A QEMU that is in one state until it is cancelled."""

    def __init__(self, status: str) -> None:
        self.status = status

    def command(self, name: str, **_: Any) -> dict[str, Any]:
        if name == "migrate_cancel":
            assert self.status == "setup"
            self.status = "cancelled"
        return {"status": self.status}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("setup", "was cancelled before QEMU had counted anything"),
        ("postcopy-active", "post-copy is not done after time_limit_seconds, 1e-09 s, and cannot"),
    ],
)
def test_a_time_limit_that_leaves_nothing_to_record_is_told(status: str, told: str) -> None:
    scenario = Scenario(name="x", memory=256 * MIB, time_limit_seconds=1e-9)
    with pytest.raises(RuntimeError, match=told):
        _migrate(scenario, Fake(status), "tcp:x:1")  # type: ignore[arg-type]
