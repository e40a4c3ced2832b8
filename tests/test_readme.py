"""What README shows works as shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from migsim import migrate
from migsim.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.removeprefix(".venv/bin/migsim ")
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith(".venv/bin/migsim migrate") and "mine.mtrace" not in line
]
PLOTS = re.findall(r"^\.venv/bin/migsim (plot .*)$", README, flags=re.MULTILINE)
PREDICTIONS = re.findall(r"^\.venv/bin/migsim (predict .*)$", README, flags=re.MULTILINE)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(BLOCKS[0])
    return path


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 2
    assert len(COMMANDS) == 5
    assert len(PREDICTIONS) == 2
    assert len(PLOTS) == 2
    assert len(BLOCKS[0].strip().splitlines()) <= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_completes(
    command: str, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["migsim", *shlex.split(command)])
    main()
    assert "completed" in capsys.readouterr().out


@pytest.mark.parametrize("command", PLOTS)
def test_a_figure_is_drawn(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    words = shlex.split(command, comments=True)
    words[-1] = str(tmp_path / words[-1])  # where --output leads
    monkeypatch.setattr("sys.argv", ["migsim", *words])
    main()
    assert (tmp_path / words[-1]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", PREDICTIONS)
def test_a_prediction_says_what_the_text_says(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["migsim", *shlex.split(command)])
    main()
    told = capsys.readouterr().out
    assert "post-copy" in told
    if "--downtime" in command:
        for figure in re.findall(r"\d+ ms|[\d.]+ Gbit/s|\d+ %", README.split("in words what")[1])[
            :4
        ]:
            number, unit = figure.split()
            found = [float(one) for one in re.findall(rf"([\d.]+) {unit}", told)]
            assert any(abs(one - float(number)) <= 0.02 * float(number) for one in found), figure


def test_the_example_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS[1], "README.md", "exec"), {})
    total, downtime = map(float, capsys.readouterr().out.split())
    assert 2 < total < 3
    assert downtime < 0.3


def test_leaving_out_the_last_send_is_corrupt(mine: Path) -> None:
    last = "    migration.send(dirty | migration.take_dirty())\n"
    assert last in BLOCKS[0]
    careless = mine.with_name("careless.py")
    careless.write_text(BLOCKS[0].replace(last, ""))
    arguments = {"link": "gigabit", "memory": "256MiB", "workload_args": {"rate": "20MB/s"}}
    assert migrate(f"{mine}:patient", "uniform", **arguments).result.status == "completed"
    result = migrate(f"{careless}:patient", "uniform", **arguments).result
    assert result.status == "corrupt"
    assert f"{result.corrupt_pages} stale pages" in result.error


def test_the_files_that_it_names_are_there() -> None:
    root = Path(__file__).parents[1]
    named = re.findall(r"`((?:tests|paper|workloads)/[\w/.]+\.\w+)`", README)
    assert named
    named += re.findall(r"\]\(((?!http)[\w/.-]+)\)", README)
    assert "paper/migsim.pdf" in named
    assert not [name for name in named if not (root / name).is_file()]
