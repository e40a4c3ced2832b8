"""The command line: what scripts depend on, and one sentence for every kind of bad input."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import pytest

import migsim
from migsim import Link, Task
from migsim.cli.main import main
from migsim.clients import client_parameters
from migsim.registry import names
from migsim.timeline import Event
from migsim.units import GIB, MIB

ROOT = Path(__file__).resolve().parent.parent

MINE = '''
from migsim import Migration
from migsim.units import Seconds

def mine(migration: Migration, *, patience: Seconds = 0.1, rounds: int = 2) -> None:
    """Sends everything for a number of rounds."""
    dirty = migration.everything
    for _ in range(rounds):
        migration.send(dirty)
        dirty = migration.take_dirty()
    migration.wait(patience)
    migration.pause()
    migration.send(dirty | migration.take_dirty())
    migration.resume()

def forgetful(migration: Migration) -> None:
    """Leaves out what was written meanwhile."""
    migration.send(migration.everything)
    migration.pause()
    migration.resume()

def failing(migration: Migration) -> None:
    """Fails with text that looks like mark-up."""
    raise ValueError("no [i] in [/red]")

def delta(migration: Migration) -> None:
    """Has the name of a built-in algorithm."""
    mine(migration)

def wordless(migration: Migration) -> None:
    """Gives up and says nothing."""
    migration.give_up("")

def leaving(migration: Migration) -> None:
    """Wants to end the program."""
    raise SystemExit(0)
'''

SMALL = ["--workload", "uniform", "--link", "gigabit", "--memory", "16MiB"]


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.out)


class Shell:
    """Runs ``migsim`` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str | Path) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["migsim", *map(str, arguments)])
        self._capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as exit_:
            assert isinstance(exit_.code, int)
            status = exit_.code
        return Ended(status, *self._capsys.readouterr())

    def migrate(self, algorithm: str, *more: str | Path) -> Ended:
        return self("migrate", "--algorithm", algorithm, *SMALL, *more)


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Shell:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return Shell(capsys, monkeypatch)


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


# ---- migrate -----------------------------------------------------------------------------------


def test_json_has_every_promised_key(shell: Shell) -> None:
    ended = shell.migrate("precopy", "--json")
    assert (ended.status, ended.err) == (0, "")
    assert set(ended.json) >= {
        "status", "total_seconds", "downtime_seconds", "bytes_sent", "payload_bytes", "pages_sent",
        "rounds", "faults", "stalled_seconds", "guest_seconds", "sent_by_kind", "accesses",
        "wall_seconds", "key",
    }  # fmt: skip
    assert ended.json["status"] == "completed"
    kinds = ended.json["sent_by_kind"]
    assert isinstance(kinds, dict)
    assert sum(kinds.values()) == ended.json["bytes_sent"]
    task = Task(algorithm="precopy", workload="uniform", memory="16MiB")
    assert ended.json["key"] == task.key


def test_clients_are_shown_and_chosen(shell: Shell) -> None:
    usual, far = (shell.migrate("precopy", "--json", *more).json
                  for more in ((), ("-c", "reach=sites", "-c", "rtt=5ms")))  # fmt: skip
    assert usual["connections_lost"] == far["connections_lost"] == 0
    assert far["client_outage_seconds"] > usual["client_outage_seconds"] + 0.5  # type: ignore[operator]
    shown = shell.migrate("precopy").out
    assert "clients      waited 200.4 ms at most; connections lost: 0" in shown
    refused = shell.migrate("precopy", "-c", "reach")
    assert (refused.status, refused.err) == (2, "migsim: -c reach: expected key=value\n")
    listed = shell("list", "clients").out
    assert all(each.name in listed for each in client_parameters())


def test_json_of_unlimited_links_is_json(shell: Shell) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    text = shell.migrate("postcopy", "--json", "--link", "unlimited").out
    assert json.loads(text, parse_constant=refuse)["status"] == "completed"


def test_options_reach_what_they_name(shell: Shell) -> None:
    ended = shell(
        "migrate", "--algorithm", "precopy", "--workload", "hotcold", "--link", "custom",
        "--memory", "0.25GiB", "--seed", "-3", "--json",
        "-a", "max_downtime=250ms", "-a", "max_rounds=7",
        "-w", "rate=50MB/s", "-w", "working_set=25%", "-w", "read_fraction=20%",
        "-w", "hot_fraction=0.1", "-w", "hot_probability=80%",
        "-l", "rate=2Gbit/s", "-l", "rtt=5ms", "-l", "overhead=0",
        "-v", "vcpus=2", "-v", "page_size=2MiB", "-v", "device_state=1MB",
        "-v", "zero_fraction=0.5", "-v", "resume_seconds=3ms",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    task = ended.json["task"]
    assert isinstance(task, dict)
    assert (task["algorithm"], task["workload"], task["link"]) == ("precopy", "hotcold", "custom")
    assert task["seed"] == -3
    assert task["algorithm_args"] == {"max_downtime": 0.25, "max_rounds": 7}
    workload, link, vm = task["workload_args"], task["link_args"], task["vm"]
    assert workload["rate"] == 50e6 / (2 * MIB)
    assert workload["working_set"] == 64 * MIB
    assert (workload["read_fraction"], workload["hot_fraction"]) == (0.2, 0.1)
    assert workload["hot_probability"] == 0.8
    assert (link["rate"], link["rtt"], link["overhead"]) == (250e6, 0.005, 0)
    assert (vm["memory"], vm["vcpus"], vm["page_size"]) == (256 * MIB, 2, 2 * MIB)
    assert (vm["device_state"], vm["zero_fraction"], vm["resume_seconds"]) == (10**6, 0.5, 0.003)
    assert ended.json["sent_by_kind"]["headers"] == 0  # type: ignore[index]


def test_the_memory_is_4_gib_unless_told(shell: Shell) -> None:
    ended = shell("migrate", "--algorithm", "postcopy", "--workload", "idle", "--link", "100g",
                  "--json")  # fmt: skip
    assert ended.json["task"]["vm"]["memory"] == 4 * GIB  # type: ignore[index]
    assert ended.json["pages_sent"] == 4 * GIB // 4096


def test_the_same_command_gives_the_same_figures(shell: Shell) -> None:
    one, two = (shell.migrate("hybrid", "--json", "--seed", "5").json for _ in range(2))
    one.pop("wall_seconds")
    two.pop("wall_seconds")
    assert one == two
    assert shell.migrate("hybrid", "--json", "--seed", "6").json["key"] != one["key"]


def test_the_summary_shows_rounds_and_figures(shell: Shell) -> None:
    ended = shell.migrate("precopy", "-w", "rate=20k", "-a", "max_downtime=1ms")
    figures = shell.migrate("precopy", "-w", "rate=20k", "-a", "max_downtime=1ms", "--json").json
    assert (ended.status, ended.err) == (0, "")
    for text in ("round 1", "round 2", "stop-and-copy", "switch-over", "completed", "total time",
                 "downtime", "on the wire", "key", f"{figures['pages_sent']:,}"):  # fmt: skip
        assert text in ended.out
    assert "…" not in ended.out
    assert "Traceback" not in ended.out


def test_figures_of_large_guests_are_not_cut_off(shell: Shell) -> None:
    ended = shell("migrate", "--algorithm", "precopy", "--workload", "uniform", "--link", "10g",
                  "--memory", "8GiB", "-w", "rate=100k", "-w", "working_set=100%")  # fmt: skip
    assert ended.status == 0
    assert "then dirty" in ended.out
    assert "2,097,152" in ended.out
    assert "…" not in ended.out


@pytest.mark.parametrize("algorithm", ["precopy", "postcopy", "hybrid", "vmotion", "delta"])
def test_the_timeline_adds_up(shell: Shell, tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "timeline.csv"
    ended = shell.migrate(algorithm, "--json", "--timeline", path, "-w", "rate=30k")
    assert ended.status == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(Event.__dataclass_fields__)
    sending = [row for row in rows if row["act"] in {"send", "push"}]
    assert sum(int(row["pages"]) for row in sending) == ended.json["pages_sent"]
    assert sum(int(row["faults"]) for row in rows) == ended.json["faults"]
    assert max(int(row["round"]) for row in rows) == ended.json["rounds"]
    times = [(float(row["start"]), float(row["end"])) for row in rows]
    assert all(start <= end for start, end in times)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))
    assert times[-1][1] == pytest.approx(ended.json["total_seconds"], rel=1e-9)


def test_the_timeline_replaces_an_older_one(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "timeline.csv"
    path.write_text("old\n" * 100)
    shell.migrate("stop_and_copy", "--timeline", path)
    assert "old" not in path.read_text()


# ---- algorithms of the user's ------------------------------------------------------------------


def test_an_algorithm_in_a_file(shell: Shell) -> None:
    ended = shell.migrate("mine.py:mine", "--json", "-a", "rounds=3", "-a", "patience=50ms")
    assert ended.status == 0, ended.err
    assert ended.json["rounds"] == 3
    assert ended.json["task"]["algorithm_args"] == {"patience": 0.05, "rounds": 3}  # type: ignore[index]


def test_an_algorithm_in_a_module(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path.cwd())
    Path("mine_as_module.py").write_text(MINE)
    assert shell.migrate("mine_as_module:mine", "--json").json["status"] == "completed"


def test_a_corrupt_migration_exits_1_and_counts_the_pages(shell: Shell) -> None:
    figures = shell.migrate("mine.py:forgetful", "--json")
    assert figures.status == 1
    assert figures.json["status"] == "corrupt"
    pages = figures.json["corrupt_pages"]
    assert isinstance(pages, int)
    assert 0 < pages <= 4096
    ended = shell.migrate("mine.py:forgetful")
    assert (ended.status, ended.err) == (1, "")
    assert f"corrupt: {pages} stale pages were readable at the destination" in ended.out


def test_a_failing_migration_exits_1_and_shows_the_traceback_as_it_is(shell: Shell) -> None:
    ended = shell.migrate("mine.py:failing")
    assert ended.status == 1
    assert "ValueError: no [i] in [/red]" in ended.out
    assert "mine.py" in ended.out
    figures = shell.migrate("mine.py:failing", "--json")
    assert (figures.status, figures.json["status"]) == (1, "failed")


def test_an_algorithm_that_ends_the_program_has_failed(shell: Shell) -> None:
    ended = shell.migrate("mine.py:leaving", "--json")
    assert (ended.status, ended.json["status"]) == (1, "failed")


EXPERIMENT = '''
"""Is the user's algorithm [any] better?

More text.
"""
from pathlib import Path
import pandas as pd
from matplotlib.figure import Figure
from migsim import Task
from migsim.experiment import Claim

HERE = Path(__file__).resolve().parent

def tasks(plan):
    mine = str(HERE / "mine.py") + ":{user}"
    return [
        Task(algorithm=name, workload="uniform", memory="4MiB", seed=seed, label="a [/b] guest")
        for name in ("stop_and_copy", mine, *plan.algorithms) for seed in range(plan.seeds)
    ]

def tables(results):
    return {{"table [1]": pd.DataFrame({{"[name]": ["[/x]"], "value": [1.5]}})}}

def claims(results):
    return [Claim("all [/is] well", {holds}, "[i]")]

def figure(results):
    return Figure()
'''


def experiment(path: Path, *, user: str = "mine", holds: bool = True) -> Path:
    path.write_text(EXPERIMENT.format(user=user, holds=holds))
    return path


def run(shell: Shell, *arguments: str | Path) -> Ended:
    return shell("run", *arguments, "--workers", "1")


def test_an_algorithm_in_an_experiment_of_the_users(shell: Shell, tmp_path: Path) -> None:
    file = experiment(tmp_path / "question.py")
    ended = run(shell, file, "--seeds", "3", "--results", "out", "--algorithm", "mine.py:delta")
    assert ended.status == 0, ended
    folder = tmp_path / "out" / "question"
    assert {path.name for path in folder.iterdir()} == {
        "rows.jsonl", "question.csv", "question.png", "question.svg",
    }  # fmt: skip
    table = pd.read_csv(folder / "question.csv")
    assert len(table) == 9
    assert set(table["algorithm"]) == {"stop_and_copy", f"{tmp_path}/mine.py:mine", "mine.py:delta"}
    assert (table["label"] == "a [/b] guest").all()
    for text in ("question: Is the user's algorithm [any] better?", "table [1]", "[name]", "[/x]",
                 "holds  all [/is] well ([i])", "out/question/question.svg"):  # fmt: skip
        assert text in ended.out
    again = run(shell, file, "--seeds", "3", "--results", "out", "--algorithm", "mine.py:delta")
    assert "9 of 9 results were there already" in again.err
    assert again.out == ended.out


@pytest.mark.parametrize(
    ("user", "holds", "sentence"),
    [
        ("mine", False, "broken all [/is] well"),
        ("forgetful", True, "stale pages were readable at the destination"),
        ("failing", True, "seed 0: ValueError: no [i] in [/red]"),
    ],
)
def test_a_bad_outcome_of_an_experiment_exits_1(
    shell: Shell, tmp_path: Path, user: str, holds: bool, sentence: str
) -> None:
    ended = run(shell, experiment(tmp_path / "bad.py", user=user, holds=holds), "--seeds", "1")
    assert ended.status == 1
    assert sentence in ended.out
    assert (tmp_path / "results" / "bad" / "bad.csv").exists()  # the default folder


def test_a_migration_that_ends_without_a_reason_is_told(shell: Shell, tmp_path: Path) -> None:
    ended = run(shell, experiment(tmp_path / "still.py", user="wordless"), "--seeds", "1")
    assert ended.status == 0, ended
    assert "mine.py:wordless on a [/b] guest, seed 0: no reason is given" in ended.out


def test_an_algorithm_beside_those_of_a_built_in_experiment(shell: Shell, tmp_path: Path) -> None:
    # `delta` is a built-in name too: both columns must be there. `failing` has figures of 0.
    users = [f"mine.py:{name}" for name in ("mine", "delta")]
    more = [text for user in users for text in ("--algorithm", user)]
    ended = shell("run", "gigabit", "--quick", "--seeds", "1", "--results", "out", *more)
    assert ended.status == 0, ended
    table = pd.read_csv(tmp_path / "out" / "gigabit" / "gigabit.csv")
    assert set(users) < set(table["algorithm"])
    assert (table["status"] == "completed").all()
    header = next(line for line in ended.out.splitlines() if "clairv." in line)
    assert header.split()[-2:] == ["mine.py:delta", "mine"]
    assert "…" not in ended.out
    figure = (tmp_path / "out" / "gigabit" / "gigabit.svg").read_text()
    assert "<!-- mine.py:delta -->" in figure
    assert "<!-- mine -->" in figure


# ---- bad input ---------------------------------------------------------------------------------

MIGRATE = ("migrate", "--algorithm", "precopy", *SMALL)

BAD = {
    # name: (arguments, what the sentence must contain)
    "unknown command": (["migrat"], "did you mean 'migrate'?"),
    "unknown option": ([*MIGRATE, "--algoritm", "x"], "--algorithm"),
    "missing option": (["migrate", "--algorithm", "precopy"], "--workload"),
    "unknown algorithm": (["migrate", "--algorithm", "precpy", *SMALL], "did you mean 'precopy'?"),
    "unknown workload": ([*MIGRATE, "--workload", "unifrom"], "did you mean 'uniform'?"),
    "unknown link": ([*MIGRATE, "--link", "gigabot"], "did you mean 'gigabit'?"),
    "unknown experiment": (["run", "gigabot"], "did you mean 'gigabit'?"),
    "unknown kind to list": (["list", "algorithm"], "did you mean 'algorithms'?"),
    "unknown everything": (
        ["migrate", "--algorithm", "xyz", *SMALL],
        "known: adaptive_compression, clairvoyant, cloud_hypervisor, compressed",
    ),
    "empty name": (["migrate", "--algorithm", "", *SMALL], "unknown algorithm ''"),
    "wrong unit of memory": ([*MIGRATE, "--memory", "4s"], "'4s', expected a size such as"),
    "ambiguous unit": ([*MIGRATE, "--memory", "4G"], "'4G', expected a size such as"),
    "negative memory": ([*MIGRATE, "--memory", "-4GiB"], "'-4GiB', which is negative"),
    "no memory": ([*MIGRATE, "--memory", "0"], "memory is 0 B"),
    "odd memory": ([*MIGRATE, "--memory", "5kB"], "multiple of the page size"),
    "NaN memory": ([*MIGRATE, "--memory", "nan"], "'nan', expected a size"),
    "infinite memory": ([*MIGRATE, "--memory", "inf"], "'inf', expected a size"),
    "memory twice": ([*MIGRATE, "-v", "memory=1GiB"], "memory is given twice"),
    "NaN time": ([*MIGRATE, "-a", "max_downtime=nan"], "'nan', expected a time"),
    "negative time": ([*MIGRATE, "-a", "max_downtime=-1s"], "'-1s', which is negative"),
    "wrong unit of a time": ([*MIGRATE, "-a", "max_downtime=5MB"], "'5MB', expected a time"),
    "fraction of a round": ([*MIGRATE, "-a", "max_rounds=2.5"], "expected a whole number"),
    "unknown parameter": ([*MIGRATE, "-a", "max_rouns=2"], "did you mean 'max_rounds'?"),
    "unknown link parameter": ([*MIGRATE, "-l", "rtf=2ms"], "did you mean 'rtt'?"),
    "unknown machine parameter": ([*MIGRATE, "-v", "vcpu=2"], "did you mean 'vcpus'?"),
    "unknown choice": (
        ["migrate", "--algorithm", "postcopy", *SMALL, "-a", "prepaging=forwrd"],
        "'forwrd', expected one of none, forward",
    ),
    "no equals sign": ([*MIGRATE, "-w", "rate"], "-w rate: expected key=value"),
    "no key": ([*MIGRATE, "-w", "=3"], "-w =3: expected key=value"),
    "no value": ([*MIGRATE, "-w", "rate="], "rate"),
    "key twice": ([*MIGRATE, "-w", "rate=1", "-w", "rate=2"], "'rate' is given twice"),
    "working set beyond memory": ([*MIGRATE, "-w", "working_set=1GiB"], "1 GiB does not fit"),
    "working set beyond 100 %": ([*MIGRATE, "-w", "working_set=101%"], "'101%', expected a size"),
    "only reads": ([*MIGRATE, "-w", "read_fraction=1"], "expected less than 1"),
    "share beyond 1": ([*MIGRATE, "-w", "read_fraction=1.5"], "expected a fraction from 0 to 1"),
    "link without a rate": ([*MIGRATE, "--link", "custom"], "'rate' has no default"),
    "link of rate 0": ([*MIGRATE, "-l", "rate=0"], "expected more than 0"),
    "endless round trip": ([*MIGRATE, "-l", "rtt=inf"], "expected 0 to 1,000 seconds"),
    "no processor": ([*MIGRATE, "-v", "vcpus=0"], "expected 1 to 4096"),
    "odd page size": ([*MIGRATE, "-v", "page_size=5000"], "a power of two"),
    "seed with a point": ([*MIGRATE, "--seed", "1.5"], "'1.5' is not a valid integer"),
    "seed beyond 64 bits": ([*MIGRATE, "--seed", str(2**64)], "expected a 64-bit integer"),
    "trace missing": (
        [*MIGRATE, "--workload", "trace", "-w", "file=nowhere.mtrace"],
        "nowhere.mtrace: there is no such file",
    ),
    "trace misspelt": (
        [*MIGRATE, "--workload", "trace", "-w", "file=redsi"], "did you mean 'redis'?"
    ),
    "trace cut off": ([*MIGRATE, "--workload", "trace", "-w", "file=cut.mtrace"], "cut.mtrace"),
    "trace of text": ([*MIGRATE, "--workload", "trace", "-w", "file=mine.py"], "mine.py"),
    "trace that is a folder": ([*MIGRATE, "--workload", "trace", "-w", "file=./"], "./"),
    "timeline in no folder": ([*MIGRATE, "--timeline", "no/where.csv"], "no/where.csv"),
    "timeline in a file": ([*MIGRATE, "--timeline", "mine.py/x.csv"], "mine.py/x.csv"),
    "timeline is a folder": ([*MIGRATE, "--timeline", "folder"], "folder"),
    "timeline not writable": ([*MIGRATE, "--timeline", "/proc/x.csv"], "/proc/x.csv"),
    "file without a function": (["migrate", "--algorithm", "mine.py", *SMALL], "mine.py:FUNCTION"),
    "file missing": (["migrate", "--algorithm", "their.py:x", *SMALL], "there is no such file"),
    "function missing": (["migrate", "--algorithm", "mine.py:mien", *SMALL], "mean 'mine'?"),
    "module missing": (["migrate", "--algorithm", "no_such:mine", *SMALL], "no_such"),
    "colon alone": (["migrate", "--algorithm", ":", *SMALL], "algorithm"),
    "syntax error": (["migrate", "--algorithm", "wrong.py:x", *SMALL], "wrong.py: cannot be"),
    "error while loading": (["migrate", "--algorithm", "raises.py:x", *SMALL], "ZeroDivisionError"),
    "exit while loading": (["migrate", "--algorithm", "exits.py:x", *SMALL], "exits.py"),
    "no text": (["migrate", "--algorithm", "binary.py:x", *SMALL], "binary.py"),
    "no algorithm": (["migrate", "--algorithm", "os:getcwd", *SMALL], "getcwd"),
    "algorithm as workload": ([*MIGRATE, "--workload", "mine.py:mine"], "positional parameters"),
    "workload that is none": ([*MIGRATE, "--workload", "none.py:none"], "returned NoneType"),
    "experiment missing": (["run", "their.py"], "there is no such file"),
    "experiment with a syntax error": (["run", "wrong.py"], "SyntaxError"),
    "experiment without tasks": (["run", "mine.py"], "expected a function tasks()"),
    "experiment of no tasks": (["run", "empty.py"], "tasks() returned no tasks"),
    "experiment of other things": (["run", "things.py"], "not a Task"),
    "experiment of impossible tasks": (["run", "impossible.py"], "1 GiB does not fit"),
    "unknown algorithm beside": (
        ["run", "gigabit", "--quick", "--algorithm", "precpy"], "did you mean 'precopy'?"
    ),
    "results in a file": (["run", "fine.py", "--results", "mine.py"], "mine.py"),
    "results below a file": (["run", "fine.py", "--results", "mine.py/x"], "mine.py/x/fine"),
    "results not writable": (["run", "fine.py", "--results", "/proc/x"], "/proc/x/fine"),
    "results of other text": (["run", "fine.py", "--results", "foreign"], "rows.jsonl:1"),
    "no workers": (["run", "fine.py", "--workers", "0"], "--workers"),
    "no seeds": (["run", "fine.py", "--seeds", "0"], "--seeds"),
    "trace info of nothing": (["trace", "info", "nowhere.mtrace"], "there is no such file"),
    "trace info cut off": (["trace", "info", "cut.mtrace"], "cut.mtrace"),
}  # fmt: skip

FILES = {
    "wrong.py": "def x(:\n",
    "raises.py": "1 / 0\n",
    "exits.py": "import sys\nsys.exit(0)\n",
    "none.py": "def none(vm, seed):\n    pass\n",
    "empty.py": "def tasks(plan): return []\nclaims = figure = tasks\n",
    "things.py": "def tasks(plan): return ['precopy']\nclaims = figure = tasks\n",
    "fine.py": "from migsim import Task\n"
    "def tasks(plan): return [Task(algorithm='precopy', workload='idle', memory='1MiB')]\n"
    "def claims(results): return []\n"
    "def figure(results):\n    from matplotlib.figure import Figure\n    return Figure()\n",
    "impossible.py": "from migsim import Task\n"
    "def tasks(plan): return [Task(algorithm='precopy', workload='idle', memory='1MiB'),\n"
    "    Task(algorithm='precopy', workload='uniform', memory='1MiB',\n"
    "         workload_args={'working_set': '1GiB'})]\n"
    "claims = figure = tasks\n",
    "foreign/fine/rows.jsonl": "hello\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    shell: Shell, tmp_path: Path, name: str
) -> None:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "binary.py").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "folder").mkdir()
    recorded = (ROOT / "workloads" / "traces" / "redis.mtrace").read_bytes()
    (tmp_path / "cut.mtrace").write_bytes(recorded[: len(recorded) // 2])
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}
    arguments, sentence = BAD[name]
    ended = shell(*arguments)
    assert ended.status == 2, ended
    assert sentence in ended.err
    assert ended.err.startswith("migsim: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert "Traceback" not in ended.err + ended.out
    if arguments[0] != "run":
        assert ended.out == ""
    after = {
        path: path.is_dir() or path.read_bytes()
        for path in tmp_path.rglob("*")
        if "__pycache__" not in path.parts
    }
    assert after == before


def test_a_folder_in_the_way_of_a_figure_is_told(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "fine.py").write_text(FILES["fine.py"])
    (tmp_path / "out" / "fine" / "fine.png").mkdir(parents=True)
    ended = run(shell, "fine.py", "--results", "out")
    assert ended.status == 2
    assert ended.err.splitlines()[-1] == (
        "migsim: cannot write figure 'out/fine/fine.png': Is a directory"
    )
    names = {path.name for path in (tmp_path / "out" / "fine").iterdir()}
    assert names == {"rows.jsonl", "fine.csv", "fine.png"}
    (tmp_path / "out" / "fine" / "fine.png").rmdir()
    again = run(shell, "fine.py", "--results", "out")
    assert again.status == 0
    assert "1 of 1 results were there already" in again.err


# ---- list and help -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["algorithm", "workload", "link", "experiment"])
def test_a_list_has_one_line_each(shell: Shell, kind: str) -> None:
    ended = shell("list", f"{kind}s")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == names(kind)  # type: ignore[arg-type]
    assert all(len(line.split()) > 3 for line in lines)  # a summary each
    everything = shell("list").out.splitlines()
    assert f"{kind}s:" in everything
    assert set(lines) <= set(everything)


def test_a_list_shows_parameters_with_defaults_in_units(shell: Shell) -> None:
    algorithms, links = shell("list", "algorithms").out, shell("list", "links").out
    assert "max_downtime=300ms max_rounds=30" in algorithms
    assert "rate=1Gbit/s rtt=200us" in links
    assert "rate=... rtt=..." in links
    (uniform,) = (
        line for line in shell("list", "workloads").out.splitlines() if line.startswith("uniform")
    )
    for text in ("working_set", "rate=10000", "read_fraction=0"):
        assert text in uniform


def test_every_parameter_of_a_link_is_explained(shell: Shell) -> None:
    explained = shell("list", "links").out.partition("(-l):\n")[2].splitlines()
    for field in fields(Link):
        (line,) = (line for line in explained if line.startswith(f"{field.name}="))
        assert len(line.split()) > 3, line


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize(
    "command", [[], ["migrate"], ["run"], ["list"], ["trace"], ["link"], ["validate"]]
)
def test_every_command_has_help(shell: Shell, command: list[str], option: str) -> None:
    ended = shell(*command, option)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("Usage: migsim ")


def test_help_names_every_command(shell: Shell) -> None:
    ended = shell("--help")
    for name in ("migrate", "run", "list", "trace"):
        assert f"\n  {name} " in ended.out


def test_no_arguments_show_the_help(shell: Shell) -> None:
    ended = shell()
    assert ended.status == 2
    assert ended.err == shell("--help").out


def test_the_version(shell: Shell) -> None:
    assert shell("--version").out == f"migsim, version {migsim.__version__}\n"


# ---- in a process of its own -------------------------------------------------------------------


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """And little altogether, which is why it is there at once."""
    code = (
        "import sys; sys.argv = ['migsim', '--help']; from migsim.cli import main; main(); "
        "heavy = {'numba', 'numpy', 'scipy', 'pandas', 'matplotlib', 'seaborn', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)), len(sys.modules) < 200)"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] True"


def printing_to(writer: int, command: str, unbuffered: str, cwd: Path) -> tuple[int, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "migsim", *command.split()],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
            cwd=cwd, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    return done.returncode, done.stderr


IDLE = "migrate --algorithm precopy --workload idle --link gigabit --memory 1MiB"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["list links", "--help", IDLE, f"{IDLE} --json"])
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, command: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    status, errors = printing_to(writer, command, unbuffered, tmp_path)
    assert errors == ""
    assert status in {1, 141}


@pytest.mark.parametrize("command", [IDLE, f"{IDLE} --json"])
def test_output_to_a_full_disk_is_told_in_a_sentence(tmp_path: Path, command: str) -> None:
    writer = os.open("/dev/full", os.O_WRONLY)
    status, errors = printing_to(writer, command, "", tmp_path)
    assert (status, errors) == (2, "migsim: output: No space left on device\n")


def test_bad_input_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = python("-m", "migsim", "migrate", "--algorithm", "precpy", *SMALL, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "migsim: unknown algorithm 'precpy', did you mean 'precopy'?\n"
