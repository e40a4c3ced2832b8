"""Compiled and interpreted kernels agree; an edited kernel is never served from an old cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers import ROOT, python, row_text, small_arguments, small_trace

from migsim import migrate
from migsim.registry import names

RUNS = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_jit import small_rows
from migsim.accesses import AccessWindow
AccessWindow.BLOCK = 256  # as good as any, and what is made ahead in vain is slow here
print(json.dumps(small_rows(Path({trace!r}))))
"""


def small_rows(trace: Path) -> dict[str, str]:
    """Return all that two small migrations of each algorithm came to."""
    rows = {}
    for algorithm in names("algorithm"):
        for workload in ("mix", "trace"):
            outcome = migrate(
                algorithm,
                workload,
                memory="1MiB",
                seed=2,
                workload_args=small_arguments(workload, trace),
                vm_args={"vcpus": 2, "device_state": 1000, "resume_seconds": 1e-3,
                         "dirty_log": "send", "clear_chunk": "64KiB",
                         "first_write_seconds": 1e-6},
            )  # fmt: skip
            rows[f"{algorithm}, {workload}"] = row_text(outcome)
    for workload in ("uniform", "sequential"):  # pages that leave in bulk
        outcome = migrate("precopy", workload, memory="4MiB", workload_args={"rate": 10_000.0})
        rows[f"in bulk, {workload}"] = row_text(outcome)
    return rows


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_trace(tmp_path_factory.mktemp("traces") / "small.mtrace")


def test_interpreted_kernels_give_the_same(trace: Path) -> None:
    code = RUNS.format(tests=str(Path(__file__).parent), trace=str(trace))
    interpreted = json.loads(python(code, NUMBA_DISABLE_JIT="1"))
    compiled = small_rows(trace)
    assert interpreted.keys() == compiled.keys()
    assert all('"completed"' in row for row in compiled.values())
    for name, row in compiled.items():
        assert interpreted[name] == row, name


def test_the_comparison_has_something_to_compare(trace: Path) -> None:
    rows = {name: json.loads(row)[0] for name, row in small_rows(trace).items()}
    assert rows["postcopy, mix"]["faults"] > 3
    assert rows["precopy, mix"]["sent_resent"] > 0


USE = """
import numpy as np
from migsim._kernels.foresight import mark_writes
words = np.zeros(2, np.uint64)
mark_writes(np.array([3, 70], np.int64), np.array([0.0, 1.0]), 9.0, words)
print(words.tolist())
"""


def test_an_edited_helper_is_not_served_from_the_cache(tmp_path: Path) -> None:
    """`mark_writes` calls `bit_of` in another file; each version of both is kept by itself."""
    shutil.copytree(
        ROOT / "migsim", tmp_path / "migsim", ignore=shutil.ignore_patterns("__pycache__")
    )
    where = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def use() -> tuple[str, int]:
        words = python(USE, cwd=tmp_path, **where).strip()
        return words, len(list((tmp_path / "cache").rglob("mark_writes-*")))

    assert use() == ("[8, 64]", 1)
    kept = next((tmp_path / "cache").rglob("mark_writes-*"))
    kept.write_bytes(kept.read_bytes()[:-1])  # as after a crash: not taken, but made anew
    assert use() == ("[8, 64]", 1)
    made = kept.stat().st_mtime_ns
    assert use() == ("[8, 64]", 1)
    assert kept.stat().st_mtime_ns == made
    helper = tmp_path / "migsim" / "_kernels" / "bits.py"
    source = helper.read_text()
    helper.write_text(source.replace("np.uint64(page & 63)", "np.uint64((page + 1) & 63)", 1))
    assert helper.read_text() != source
    assert use() == ("[16, 128]", 2)


def test_without_a_writable_cache_folder(tmp_path: Path) -> None:
    """Then kernels are compiled anew; nothing else is different."""
    blocker = tmp_path / "file"
    blocker.write_text("no folder")
    assert python(USE, NUMBA_CACHE_DIR=str(blocker / "cache")).startswith("[8, 64]")


FIRST = """
import sys
from migsim import _jit
from migsim.cli.main import main
kept = []
load = _jit.KernelFiles.load
_jit.KernelFiles.load = lambda self, name: kept.append(name.split("-")[0]) or load(self, name)
sys.argv[1:] = "migrate --algorithm precopy --workload uniform --link gigabit".split()
main()
print(*kept)
print(*sys.modules)
"""


def test_a_plain_migration_needs_few_kernels_and_little_else() -> None:
    """What is compiled, or loaded, at a first migration is what keeps its user waiting."""
    _, kernels, modules = python(FIRST).strip().rsplit("\n", 2)
    used = kernels.split()
    assert "run_window_rounds" in used
    assert len(used) <= 10
    assert len(set(used)) == len(used)  # each for one signature
    assert not set(used) & {"run_bbr_rounds", "run_plain", "run_destination", "run_disk"}
    too_much = {"numba.np.arraymath", "scipy.linalg", "pandas", "pyarrow", "matplotlib", "seaborn"}
    assert not too_much & {*modules.split()}


ONE_S_OWN = """
import numpy as np
from migsim import jit
@jit
def helper(n):
    if n > 5:
        raise ValueError("too many", n)
    return 1 if n <= 1 else n * helper(n - 1)
@jit
def outer(n, more=1):
    return helper(n) + more
print(outer(3), outer(3, more=5), helper(4))
try:
    outer(7)
except ValueError as error:
    print(error.args)
"""


def test_a_kernel_of_one_s_own_may_recurse_and_raise(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(ONE_S_OWN)
    path = f"{ROOT}:{tmp_path}"
    for _ in range(2):  # compiled, and from the cache
        told = python("import own", PYTHONPATH=path, NUMBA_CACHE_DIR=str(tmp_path))
        assert told.splitlines() == ["7 11 24", "('too many', 7)"]
