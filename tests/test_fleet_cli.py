"""`migsim fleet`: what it prints, writes and refuses, and a run that is killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from figures import check_figure
from helpers import ROOT, python
from matplotlib.figure import Figure

from migsim.cli.main import main
from migsim.fleet.chain import read_entries, verify
from migsim.fleet.drawing import history_figure
from migsim.fleet.history import History, read_history
from migsim.fleet.manager import Minutes
from migsim.fleet.model import Evacuate, Failure, Fleet, Host, Migrating, Move, Network, Vm
from migsim.fleet.running import run_fleet
from migsim.plotting.fleet import Bar, Shade, fleet_figure
from migsim.units import GIB, MIB

SMALL = """
name = "small"
[networks.lan]
rate = "1Gbit/s"
[hosts.h]
count = 3
network = "lan"
cores = 8
memory = "1GiB"
[vms.v]
count = 3
host = "h-1"
memory = "8MiB"
workload = "uniform"
workload_args = { rate = "1MB/s" }
[[evacuate]]
host = "h-1"
concurrency = 2
order = "listed"
"""
MOVE = """
[[move]]
vm = "v-1"
to = "h-1"
at = "60s"
"""
CRASH = """
[[failures]]
at = "10ms"
kind = "crash"
target = "h-1"
"""
BALANCE = """
[[balance]]
at = "1h"
most_moves = 2
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Run ``migsim fleet`` in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["migsim", "fleet", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as exit_:
            assert isinstance(exit_.code, int)
            return (exit_.code, *capsys.readouterr())
        return (0, *capsys.readouterr())

    return run


def write(text: str, name: str = "small.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


# ---- what is done ------------------------------------------------------------------------------


def test_a_run_writes_its_log_and_says_so(shell: Run) -> None:
    status, out, err = shell("run", write(SMALL + MOVE))
    assert (status, err) == (0, "")
    assert "h-1 was emptied of 3 machines in " in out
    assert "small.audit.jsonl: 18 entries" in out
    assert sum(line.rstrip().endswith("B  completed") for line in out.splitlines()) == 4
    assert "4 completed" in out
    assert verify(Path("small.audit.jsonl")).status == "intact"
    assert sorted(path.name for path in Path().iterdir()) == ["small.audit.jsonl", "small.toml"]


def test_a_rerun_compares_and_another_scenario_is_refused(shell: Run) -> None:
    shell("run", write(SMALL))
    log = Path("small.audit.jsonl")
    before = log.read_bytes()
    status, out, _ = shell("run", "small.toml")
    assert status == 0
    assert "it was complete, and this run gives the same 15 entries" in out
    assert log.read_bytes() == before
    status, out, err = shell("run", write(SMALL.replace("8MiB", "4MiB")))
    assert (status, out) == (2, "")
    assert err.startswith("migsim: small.audit.jsonl: it is the log of scenario 'small' with ")
    assert log.read_bytes() == before


def test_rows_and_json_say_the_same(shell: Run) -> None:
    status, out, _ = shell("run", write(SMALL), "--json", "--output", "rows.csv")
    told = json.loads(out)
    with Path("rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert status == 0
    assert [row["vm"] for row in rows] == [one["vm"] for one in told["migrations"]]
    assert sum(int(row["bytes_sent"]) for row in rows) == told["bytes_sent"]
    assert all(hosts in (["h-2"], ["h-3"]) for hosts in told["runs_at"].values())
    assert all(0 < link["share"] <= 1 for link in told["links"])
    assert max(told["links"], key=lambda link: link["bytes"])["link"] == "h-1 out"
    assert told["alarms"] == told["not_done"] == []


def test_a_folder_takes_rows_and_log(shell: Run) -> None:
    status, _, _ = shell("run", write(SMALL), "--output", Path("new") / "out", "--plot", "f.png")
    assert status == 0
    names = sorted(path.name for path in (Path("new") / "out").iterdir())
    assert names == ["small.audit.jsonl", "small.csv"]
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_lost_is_told_loudly(shell: Run) -> None:
    status, out, _ = shell("run", write(SMALL + CRASH))
    assert status == 1
    for name in ("v-1", "v-2", "v-3"):
        assert f"ALARM: {name} runs NOWHERE: " in out
    assert "not done: h-1 went down with v-1, v-2, v-3 of 3 machines on it" in out
    status, told, _ = shell("report", "small.audit.jsonl")
    assert status == 0
    assert [line for line in out.splitlines() if "ALARM" in line] == [
        line for line in told.splitlines() if "ALARM" in line
    ]
    assert any("h-1" in line and line.rstrip().endswith("crashes") for line in told.splitlines())


def test_what_is_cancelled_is_told(shell: Run) -> None:
    tight = MOVE.replace('"60s"', '"60s"\nmost_downtime = "1us"').replace(
        'to = "h-1"', 'to = "h-2"'
    )
    text = SMALL.partition("[[evacuate]]")[0] + tight
    status, out, _ = shell("plan", write(text))
    assert status == 1
    assert "not done: predicted downtime" in out
    status, out, _ = shell("run", "small.toml")
    assert status == 1
    assert "not done: v-1 (move v-1) was cancelled at 0:01:00.00: predicted downtime" in out


# ---- plans -------------------------------------------------------------------------------------


def test_a_plan_does_nothing_and_a_run_does_what_it_says(shell: Run) -> None:
    text = SMALL.replace('order = "listed"', 'minimise = "downtime"').replace("concurrency = 2", "")
    status, out, _ = shell("plan", write(text + MOVE + BALANCE), "--json")
    assert status == 0
    assert [path.name for path in Path().iterdir()] == ["small.toml"]
    evacuate, move, balance = json.loads(out)["jobs"]
    downtimes = [one["downtime_seconds"] for one in evacuate["candidates"]]
    assert len(downtimes) > 3
    assert downtimes == sorted(downtimes)
    assert move["source"] == evacuate["to"]["v-1"]  # where the job before leaves it
    assert balance["placement"]["bound"] <= balance["placement"]["objective"]
    status, out, _ = shell("run", write(text), "--json")
    ran = json.loads(out)
    assert status == 0
    assert ran["downtime_seconds"] == pytest.approx(downtimes[0], rel=1e-12)
    assert {vm: [host] for vm, host in evacuate["to"].items()} == ran["runs_at"]


def test_a_plan_in_words(shell: Run) -> None:
    text = SMALL.replace('order = "listed"', "").replace("concurrency = 2", "")
    status, out, _ = shell("plan", write(text + MOVE + BALANCE))
    assert status == 0
    assert "0:00:00.00: empty h-1, least time" in out
    assert "best: empty soonest" in out
    assert "0:01:00.00: move v-1 from h-" in out
    assert "guests lose " in out


def test_a_plan_of_machines_that_have_to_stay(shell: Run) -> None:
    """The two hosts that are left have no room for all."""
    tight = SMALL.replace('memory = "1GiB"', 'memory = "24MiB"') + "".join(
        f'[vms.w{k}]\nhost = "h-{k}"\nmemory = "12MiB"\n' for k in (2, 3)
    )
    status, out, _ = shell("plan", write(tight))
    assert status == 1
    assert "not done: 1 of 3 machines would not get to another host: " in out
    status, out, _ = shell("run", "small.toml")
    assert status == 1
    assert "not done: h-1 is not empty: v-3 of 3 machines run there" in out
    assert "not done: v-3 (evacuate h-1) was cancelled at " in out
    assert "ALARM" not in out


# ---- reports -----------------------------------------------------------------------------------


def test_a_report_at_a_time_knows_nothing_of_what_came_later(shell: Run) -> None:
    shell("run", write(SMALL + MOVE))
    _, out, _ = shell("report", "small.audit.jsonl", "--at", "50ms", "--json")
    early = json.loads(out)
    assert early["at"] == 0.05
    assert {one["ending"] for one in early["migrations"]} == {"under way"}
    assert early["migrations"][0]["ended"] is None
    assert early["runs_at"] == {f"v-{k}": ["h-1"] for k in (1, 2, 3)}
    _, out, _ = shell("report", "small.audit.jsonl", "--at", "30s", "--json")
    middle = json.loads(out)
    assert len(middle["migrations"]) == 3
    assert middle["not_done"] == []
    _, out, _ = shell("report", "small.audit.jsonl")
    assert "hosts at 0:01:0" in out
    assert "h-1   up  1: v-1" in out
    assert "small.audit.jsonl: intact: 18 entries" in out


def test_verify_tells_intact_open_and_broken(shell: Run) -> None:
    shell("run", write(SMALL))
    log = Path("small.audit.jsonl")
    whole = log.read_bytes()
    assert shell("audit", "verify", log)[0] == 0
    log.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    status, out, _ = shell("audit", "verify", log)
    assert status == 1
    assert "open: 14 entries are valid" in out
    assert shell("report", log)[0] == 0
    log.write_bytes(whole.replace(b'"h-2"', b'"h-3"', 1))
    status, out, _ = shell("audit", "verify", log, "--json")
    assert status == 1
    assert json.loads(out)["status"] == "broken"
    status, out, err = shell("report", log)
    assert (status, out) == (2, "")
    assert "the log is broken" in err


# ---- a run that is killed ----------------------------------------------------------------------

LONG = SMALL.replace("count = 3\nhost", "count = 40\nhost") + "".join(
    f'[[move]]\nvm = "v-{k}"\nto = "h-1"\nat = "{60 + k}s"\n' for k in range(1, 41)
)


def process(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "migsim", "fleet", "run", "long.toml", "--output", "rows.csv"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_run_that_is_killed_is_completed_to_the_same_bytes(shell: Run, tmp_path: Path) -> None:
    write(LONG, "long.toml")
    assert shell("run", "long.toml", "--log", "calm.jsonl")[0] == 0
    calm, log = Path("calm.jsonl").read_bytes(), Path("long.audit.jsonl")
    killed = process(tmp_path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if log.exists() and log.read_bytes().count(b'"completed"') >= 3:
            break
        time.sleep(0.001)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    there = verify(log)
    assert there.status == "open"
    assert 50 < there.entries < calm.count(b"\n")
    assert not Path("rows.csv").exists()
    status, out, _ = shell("run", "long.toml", "--output", "rows.csv")
    assert status == 0
    assert f"taken up after {there.entries} entries" in out
    assert log.read_bytes() == calm
    assert len(Path("rows.csv").read_text().splitlines()) == 81


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "none.toml"), "none.toml: cannot be read"),
        (("plan", "none.toml"), "none.toml: cannot be read"),
        (("run", "bad.toml"), "bad.toml:1: is no TOML"),
        (("plan", "unknown.toml"), "h-9"),
        (("run", "small.toml", "--output", "none/rows.csv"), "there is no such directory"),
        (("run", "small.toml", "--output", "bad.toml"), "bad.toml"),
        (("run", "small.toml", "--plot", "figure.gif"), "expected a name that ends in .png"),
        (("run", "small.toml", "--log", "folder"), "folder"),
        (("run", "small.toml", "--log", "a.csv", "--output", "a.csv"), "a.csv: is meant for two"),
        (("run", "bad.toml", "--output", "new"), "bad.toml:1: is no TOML"),
        (("run", "small.toml", "--log", "bad.toml"), "bad.toml:1: the log is broken"),
        (("run", "small.toml", "--log", "notes.txt"), "notes.txt:1: the log is broken"),
        (("report", "none.jsonl"), "none.jsonl: cannot be read"),
        (("report", "bad.toml"), "the log is broken"),
        (("report", "empty.jsonl"), "the log is empty"),
        (("report", "empty.jsonl", "--at", "2kg"), "--at: got '2kg', expected a time"),
        (("audit", "verify", "none.jsonl"), "none.jsonl: cannot be read"),
        (("audit", "verify", "folder"), "folder: cannot be read"),
        (("nonsense",), "No such command 'nonsense'"),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    shell: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    write(SMALL)
    write("[a\n]\n\nb = ", "bad.toml")
    write(SMALL.replace('[[evacuate]]\nhost = "h-1"', '[[evacuate]]\nhost = "h-9"'), "unknown.toml")
    write("", "empty.jsonl")
    write("notes in one line without an end", "notes.txt")
    Path("folder").mkdir()
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    status, out, err = shell(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("migsim: ")
    assert err.count("\n") == 1
    assert sentence in err
    after = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    assert after == before


def test_help_is_there_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['migsim', 'fleet', 'run', '--help']; from migsim.cli import main;"
        "main(); heavy = {'numba', 'numpy', 'scipy', 'pandas', 'matplotlib', 'rich', 'greenlet'}; "
        "print(sorted(heavy & set(sys.modules)), len(sys.modules) < 220)"
    )
    assert python(code, cwd=tmp_path).splitlines()[-1] == "[] True"


# ---- histories and figures ---------------------------------------------------------------------


def history(**changes: object) -> History:
    """The history of three hosts, of which the first is to be emptied."""
    machines = {
        f"v{k}": Vm(name=f"v{k}", host="a", memory=8 * MIB, workload="uniform",
                    workload_args={"rate": "1MB/s"})
        for k in range(3)
    }  # fmt: skip
    fleet = Fleet(**{  # type: ignore[arg-type]
        "name": "made",
        "networks": {"lan": Network(name="lan", rate=125e6)},
        "hosts": {name: Host(name=name, network="lan", cores=4.0, memory=GIB) for name in "abc"},
        "vms": machines, "jobs": (Evacuate(host="a"),), **changes,
    })  # fmt: skip
    minutes = Minutes()
    run_fleet(fleet, minutes)
    return read_history(minutes.entries)


def test_a_history_pairs_what_breaks_with_what_is_mended() -> None:
    failures = (
        Failure(at=1.0, kind="down", target="b", lasts=10.0),
        Failure(at=2.0, kind="slow", target="b", lasts=1.0),
        Failure(at=3.0, kind="crash", target="c", lasts=1.0),
        Failure(at=5.0, kind="crash", target="c"),
    )
    told = history(failures=failures)
    ends = [(one.kind, one.begins, one.ends) for one in told.troubles]
    assert ends == [
        ("down", 1.0, 11.0), ("slow", 2.0, 3.0), ("crash", 3.0, 4.0), ("crash", 5.0, float("inf"))
    ]  # fmt: skip
    assert told.emptyings[0].empty == max(leg.ended for leg in told.legs)


def test_pauses_lie_within_their_migrations() -> None:
    for algorithm in ("precopy", "postcopy"):
        told = history(migrating=Migrating(algorithm=algorithm))
        assert len(told.legs) == 3
        for leg in told.legs:
            assert leg.paused is not None
            assert leg.started < leg.paused < leg.paused + leg.downtime <= leg.ended


@pytest.mark.parametrize("jobs", [(), (Evacuate(host="a"), Move(vm="v1", to="a", at=1.0))])
def test_the_figure_of_a_history_is_fit_to_be_printed(jobs: tuple[object, ...]) -> None:
    failures = (Failure(at=0.05, kind="down", target="b", lasts=0.02),
                Failure(at=0.1, kind="crash", target="c"))  # fmt: skip
    check_figure(history_figure(history(jobs=jobs, failures=failures)))


def many(machines: int, hosts: int) -> Figure:
    endings = ("completed", "completed", "stayed", "lost", "twice", "undecided", "under way")
    bars = [
        Bar(vm=f"machine-{k}", source=f"host-{k % hosts}", destination=f"host-{(k + 1) % hosts}",
            started=1000 + k, ended=1010 + 2 * k, paused=1009 + 2 * k, downtime=0.3,
            ending=endings[k % len(endings)])
        for k in range(machines)
    ]  # fmt: skip
    shades = [
        Shade(label=f"trunk-{k} down", begins=1000.0 + k, ends=1001.0 + k, whole=True)
        for k in range(hosts // 4)
    ]
    return fleet_figure(bars, shades, title=f"{machines} machines between {hosts} hosts of a test")


@pytest.mark.parametrize(("machines", "hosts"), [(1, 2), (45, 12), (46, 40), (400, 8)])
def test_figures_of_large_fleets_are_fit_to_be_printed(machines: int, hosts: int) -> None:
    check_figure(many(machines, hosts))


def test_the_log_on_disk_tells_what_the_record_tells(shell: Run) -> None:
    shell("run", write(SMALL))
    told = read_history(read_entries(Path("small.audit.jsonl")))
    assert told.ended
    assert told.name == "small"
    assert [leg.ending for leg in told.legs] == ["completed"] * 3
