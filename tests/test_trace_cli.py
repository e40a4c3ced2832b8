from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from migsim.errors import InputError
from migsim.trace.cli import trace
from migsim.trace.format import Trace, read_trace, write_trace


def run(*arguments: str) -> Result:
    return CliRunner().invoke(trace, arguments)


def failure(*arguments: str) -> str:
    """Return the sentence of the `InputError` that the command ends with."""
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "example.mtrace"
    counts = np.full(20, 3, np.uint32)
    made = Trace(
        ends=np.arange(1, 21) / 10,
        counts=counts,
        pages=np.tile(np.array([1, 2, 700], np.uint32), 20),
        resident=np.arange(1000, dtype=np.uint32),
        pages_total=1024,
        meta={"method": "uffd-wp", "argv": ["prog", "[bold]"], "notes": "by hand"},
    )
    write_trace(path, made)
    return path


def test_info_prints_the_numbers(example: Path) -> None:
    result = run("info", str(example))
    assert result.exit_code == 0
    for text in ("prog [bold]", "by hand", "1,024 pages = 4 MiB", "30 pages/s", "Working set"):
        assert text in result.output
    assert list(example.parent.iterdir()) == [example]  # no figure unless asked for


def test_info_as_json(example: Path) -> None:
    found = json.loads(run("info", "--json", str(example)).output)
    assert (found["pages"], found["writes"], found["dirty_rate"]) == (1024, 60, 30)
    assert found["header"]["notes"] == "by hand"
    assert found["working_sets"][0] == {"window": 0.1, "mean": 3, "median": 3, "maximum": 3}


def test_info_draws(example: Path, tmp_path: Path) -> None:
    assert run("info", str(example), "--plot", str(tmp_path / "a.png")).exit_code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_info_of_bad_files(tmp_path: Path) -> None:
    (tmp_path / "bad.mtrace").write_text("hello")
    assert "is no migsim trace" in failure("info", str(tmp_path / "bad.mtrace"))
    assert "absent.mtrace" in failure("info", str(tmp_path / "absent.mtrace"))
    assert "did you mean 'redis'" in failure("info", "reddis")


def test_info_of_a_committed_trace() -> None:
    header = json.loads(run("info", "--json", "redis").output)["header"]
    assert header["argv"] == ["redis-server *:7799"]


@pytest.mark.recording
def test_record_writes_a_file(tmp_path: Path) -> None:
    target = tmp_path / "sleep.mtrace"
    options = ["--interval", "50ms", "--duration", "400ms", "--note", "idle", "--output"]
    try:
        result = run("record", *options, str(target), "--", "sleep", "5")
    except InputError as error:
        pytest.skip(str(error))
    assert result.exit_code == 0, result.output
    recorded = read_trace(target)
    assert recorded.meta["argv"] == ["sleep", "5"]
    assert (recorded.meta["notes"], recorded.meta["interval"]) == ("idle", 0.05)
    assert recorded.counts.size == 8
    assert f"{target}: 0.4 s, 8 intervals" in result.output


def test_record_tells_bad_input(tmp_path: Path) -> None:
    assert "--interval: got 'x'" in failure("record", "--interval", "x", "--", "true")
    assert "--duration: got '0s'" in failure("record", "--duration", "0s", "--", "true")
    assert "--duration: got 'inf'" in failure("record", "--duration", "inf", "--", "true")
    absent = str(tmp_path / "absent" / "a.mtrace")
    assert "there is no folder" in failure("record", "--output", absent, "--", "true")
    output = ["--output", str(tmp_path / "a.mtrace")]
    assert "no program 'no-such-program'" in failure("record", *output, "--", "no-such-program")
    assert "either a command" in failure("record", *output)
    assert not list(tmp_path.iterdir())


def test_help_tells_when_a_figure_is_drawn() -> None:
    assert "with --plot as a figure" in " ".join(run("info", "--help").output.split())
    assert "--pid" in run("record", "--help").output
