"""Comparing git revisions, end to end: in a repository of its own, with real edits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import ROOT

EXPERIMENT = '''
"""Do small guests move?"""

import numpy as np

from migsim import Task, VirtualMachine
from migsim.experiment import all_complete
from migsim.plotting import Panel, dot_panels
from migsim.units import PageRate


class Scattered:
    """Accesses whose pages are quick to draw without a compiler."""

    def __init__(self, pages, rate, seed):
        self.pages, self.rate, self.seed = pages, rate, seed

    def index(self, guest_time):
        return int(np.searchsorted(np.arange(100_000) / self.rate, guest_time, side="left"))

    def accesses(self, first, pages, times):
        number = np.arange(first, first + pages.size)
        mixed = (number + 1_000_003 * (self.seed + 1)).astype(np.uint64) * np.uint64(0x9E3779B1)
        pages[:] = (mixed >> np.uint64(9)) % np.uint64(self.pages)
        times[:] = number / self.rate


def scattered(vm: VirtualMachine, seed: int, *, rate: PageRate = 1000.0):
    return Scattered(vm.pages // 2, rate, seed)


ARGUMENTS = {"precopy": {"max_downtime": 0.002, "max_rounds": 3}, "stop_and_copy": {}}


def tasks(plan):
    return [
        Task(
            algorithm=algorithm, algorithm_args=arguments,
            workload=f"{__file__}:scattered", workload_args={"rate": rate},
            link="custom", link_args={"rate": link, "rtt": "1ms", "congestion": "none"},
            memory="2MiB", seed=seed, label=f"{rate} over {link}",
        )
        for rate in ("1MB/s", "4MB/s", "9MB/s")
        for link in ("200Mbit/s", "400Mbit/s")
        for seed in range(plan.seeds)
        for algorithm, arguments in ARGUMENTS.items()
    ]


def claims(results):
    return [all_complete(results)]


def figure(results):
    return dot_panels(results, [Panel("total_seconds", "s")], rows="label", title="small")
'''

RENAMED = ("for _ in range(max_rounds):", "for _attempt in range(max_rounds):")
# From the pause to the first instruction passes what is sent, then the device state with its
# packets, half a round trip, and what the machine takes to resume: 5 % of all that.
WORSE = (
    "    migration.send(dirty | migration.take_dirty())\n    migration.resume()",
    """    began, link, vm = migration.now, migration.link, migration.vm
    migration.send(dirty | migration.take_dirty())
    device = (vm.device_bytes + link.header_bytes(vm.device_bytes)) / link.rate
    rest = device + link.one_way + vm.resume_seconds
    migration.wait(0.05 * (migration.now - began + rest))
    migration.resume()""",
)
# Interpreted: a checkout is a folder of its own, for which all kernels would be compiled anew.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}


@dataclass(frozen=True)
class Repository:
    folder: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), "-c", "user.name=t", "-c", "user.email=t@example.org",
             *arguments], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, tag: str, edits: Sequence[tuple[str, str]] = ()) -> None:
        """Edit precopy.py, commit that as ``tag``, and go back."""
        path = self.folder / "algorithms" / "precopy.py"
        for before, after in edits:
            assert path.read_text().count(before) == 1
            path.write_text(path.read_text().replace(before, after))
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", tag)
        self.git("tag", tag)
        if tag != "base":
            self.git("reset", "--quiet", "--hard", "base")

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "migsim", "compare", *map(str, arguments)]

    def compare(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env={**ENVIRONMENT, **variables},
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    @property
    def checkouts(self) -> int:
        return len(self.git("worktree", "list").splitlines())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """This checkout's code as a repository: ``base``, and commits beside it."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("migsim", "algorithms", "workloads"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.mtrace")
        )
    (folder / "experiments").mkdir()
    (folder / ".gitignore").write_text("__pycache__\n")
    made = Repository(folder)
    made.git("init", "--quiet")
    made.commit("base")
    made.commit("renamed", [RENAMED])
    made.commit("worse", [WORSE])
    (folder / "experiments" / "small.py").write_text(EXPERIMENT)
    made.commit("with_experiment", [RENAMED])
    return made


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "small.py"
    path.write_text(EXPERIMENT)
    return path


def test_a_longer_downtime_is_told_and_nothing_worse(
    repository: Repository, experiment: Path, tmp_path: Path
) -> None:
    done = repository.compare(
        "base", "worse", "--experiment", experiment, "--output", tmp_path / "report.md",
        "--output", tmp_path / "report.xml",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    start = "precopy: downtime 5.0 % longer (95 % interval 5.0 to 5.0 %, p"
    (told,) = (line for line in lines if line.startswith(start))
    worse = lines[lines.index("Worse") + 1 : lines.index("")] or lines[lines.index("Worse") + 1 :]
    assert told in worse
    assert "Broken" not in lines
    assert "Better" not in lines
    assert "no difference: stop_and_copy" in lines
    # What follows from it is no larger: the guest loses the same, and in total less.
    for line in (line for line in lines if line.startswith("precopy: ")):
        share = float(line.split(" %")[0].split()[-1])
        assert share <= 5.0
    assert "bytes" not in done.stdout
    assert "downtime 5.0 % longer" in (tmp_path / "report.md").read_text().splitlines()[0]
    assert "downtime 5.0 % longer" in (tmp_path / "report.xml").read_text()
    assert repository.checkouts == 1


def test_a_renamed_variable_is_no_difference_and_a_base_without_the_experiment_runs_heads(
    repository: Repository,
) -> None:
    done = repository.compare("base", "with_experiment", "--experiment", "small", "--seeds", "1")
    assert (done.returncode, done.stdout.splitlines()[1]) == (
        0, "no difference: 12 results of 2 algorithms are identical to the bit",
    ), done.stderr  # fmt: skip
    assert "the source changed, the results did not: precopy" in done.stdout
    assert repository.checkouts == 1


def test_ctrl_c_leaves_nothing_behind(
    repository: Repository, experiment: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        repository.command("base", "renamed", "--experiment", experiment, "--seeds", "500"),
        cwd=repository.folder, env={**ENVIRONMENT, "TMPDIR": str(tmp_path)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/results0/small/rows.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert err.splitlines()[-1] == "migsim: interrupted"
    assert list(tmp_path.iterdir()) == []
    assert repository.checkouts == 1


def test_a_claim_that_breaks_at_head_is_broken(repository: Repository, tmp_path: Path) -> None:
    doubtful = tmp_path / "doubtful.py"
    claim = "[Claim('guests are green', False, 'all 4 were red')]"
    doubtful.write_text(
        EXPERIMENT.replace("[all_complete(results)]", claim)
        .replace("import all_complete", "import Claim")
        .replace("in ARGUMENTS.items()", "in [('stop_and_copy', {})]")
    )
    done = repository.compare(
        "base", "renamed", "--experiment", doubtful, "--seeds", "1", FORCE_COLOR="1"
    )
    assert done.returncode == 1, done.stderr
    told = "guests are green (all 4 were red)"
    lines = done.stdout.splitlines()
    assert lines[lines.index("Broken") + 1] == f"broken claim: {told}"
    assert f"a claim was broken in BASE already: {told}" in lines


def test_an_experiment_that_cannot_run_is_told(repository: Repository, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise ValueError('not today')\n")
    done = repository.compare("base", "renamed", "--experiment", broken)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("migsim: base: its run of 'broken' failed: ")
    assert done.stderr.splitlines()[-1].endswith("ValueError: not today")
    assert repository.checkouts == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["base", "nonsense"], "HEAD nonsense: there is no such file or folder, and no such git"),
        (["nowhere.csv", "base"], "BASE nowhere.csv: there is no such file"),
        (["base", "renamed", "--experiment", "nothing"], "--experiment nothing: renamed ("),
        (["base", "renamed", "--experiment", "x/y.py"], "--experiment x/y.py: there is no such"),
        (["base", "renamed", "--threshold", "lots"], "--threshold lots: got 'lots', expected"),
        (["base", "renamed", "--output", "no/where.md"], "--output no/where.md: there is no such"),
        (["--", "-x", "base"], "BASE -x: there is no such file or folder, and no such git"),
    ],
)
def test_bad_input_is_one_sentence(repository: Repository, arguments: list[str], told: str) -> None:
    done = repository.compare(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"migsim: {told}")
    assert repository.checkouts == 1


def test_without_a_repository_there_are_no_revisions(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migsim", "compare", "a", "b"], capture_output=True, text=True,
        cwd=tmp_path, env={**ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "migsim: BASE a: there is no such file or folder, and no revision either, since "
        f"{tmp_path} is in no git repository\n"
    )
