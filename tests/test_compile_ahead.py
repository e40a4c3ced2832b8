"""A kernel that is missing is made by one process at a time, and by a second one in good time."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import pytest
from helpers import python

from migsim import _jit, _kernel_files
from migsim._jit import jit
from migsim._kernel_files import KernelFiles

compiled_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernel_files, "_PATIENCE", 0.0)


@pytest.mark.usefixtures("impatient")
def test_one_at_a_time_is_alone(tmp_path: Path) -> None:
    files = KernelFiles(tmp_path / "new")
    with files.alone("a") as first, files.alone("a") as second, files.alone("b") as other:
        assert (first, second, other) == (True, False, True)
        assert len(list((tmp_path / "new").iterdir())) == 2
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ValueError, match="wrong"), files.alone("a"):
        raise ValueError("wrong")
    with files.alone("a") as again:
        assert again


@pytest.mark.usefixtures("impatient")
def test_whoever_dies_keeps_nobody_waiting(tmp_path: Path) -> None:
    python(
        "import os, sys; from pathlib import Path; from migsim._kernel_files import KernelFiles\n"
        "with KernelFiles(Path(sys.argv[1])).alone('a'): os._exit(0)",
        str(tmp_path),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lock-a"]  # goes as all files do
    with KernelFiles(tmp_path).alone("a") as alone:
        assert alone


def test_without_locks_everybody_goes_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    (tmp_path / "file").touch()
    with KernelFiles(tmp_path / "file" / "folder").alone("a") as alone:
        assert not alone
    monkeypatch.setattr(fcntl, "flock", fail)
    with KernelFiles(tmp_path).alone("a") as alone:
        assert not alone


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep kernels in a folder of their own; return the names of those that are made."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    names: list[str] = []
    save = KernelFiles.save

    def noted(self: KernelFiles, name: str, data: bytes) -> None:
        names.append(name)
        save(self, name, data)

    monkeypatch.setattr(KernelFiles, "save", noted)
    return names


def kernel(x: int) -> int:
    return x + 1


@compiled_only
def test_what_another_makes_meanwhile_is_loaded(
    saved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jit(kernel)(1) == 2
    (name,) = saved
    files, path = KernelFiles(_jit.kernel_cache_directory()), _jit.kernel_cache_directory() / name
    made = path.read_bytes()
    path.unlink()
    missed, found = threading.Event(), KernelFiles.load

    def load(self: KernelFiles, name: str) -> bytes | None:
        data = found(self, name)
        missed.set()
        return data

    monkeypatch.setattr(KernelFiles, "load", load)
    values: list[int] = []
    with files.alone(name):
        other = threading.Thread(target=lambda: values.append(jit(kernel)(2)))
        other.start()
        assert missed.wait(60)
        path.write_bytes(made)
    other.join(60)
    assert values == [3]
    assert saved == [name]
    assert {path.name for path in path.parent.iterdir()} == {name, ".swept"}


@compiled_only
def test_what_cannot_be_compiled_leaves_no_lock(saved: list[str]) -> None:
    wrong = jit(lambda x: x.nonsense)
    for _ in range(2):
        with pytest.raises(numba.TypingError):
            wrong(1)
    assert saved == []
    assert list(_jit.kernel_cache_directory().iterdir()) == []


@compiled_only
def test_the_first_missing_kernel_is_told_once(saved: list[str]) -> None:
    told: list[int] = []
    for _ in range(2):  # as with two commands in one process
        _jit.before_compiling(lambda: told.append(len(saved)))
    assert jit(kernel)(1) + jit(kernel)(1.5) == 4.5
    assert told == [0]
    assert len(saved) == 2
    _jit.before_compiling(lambda: told.append(len(saved)))
    assert jit(kernel)(1) == 2
    assert told == [0]  # nothing is missing
    assert jit(kernel)(1j) == 1 + 1j
    assert told == [0, 2]


AHEAD = """
import os, subprocess
os.sched_getaffinity = lambda process: {0, 1}
helpers = []
start = subprocess.Popen.__init__
subprocess.Popen.__init__ = lambda self, *a, **k: (helpers.append(self), start(self, *a, **k))[1]
from migsim import Link, jit
from migsim.compile_ahead import compile_ahead
compile_ahead(Link(rate=1e6, rtt=0.1), "uniform")
@jit
def kernel(x):
    return x + 1
assert not helpers
kernel(1), kernel(1.5)
print(*(helper.pid for helper in helpers))
"""


@compiled_only
def test_the_second_process_is_started_once_and_ends_with_the_first(tmp_path: Path) -> None:
    pid = int(python(AHEAD, NUMBA_CACHE_DIR=str(tmp_path)))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_second_process_ends_where_the_first_is_killed() -> None:
    code = (
        "import time; from migsim import compile_ahead as c; c._end_with_parent(); time.sleep(99)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"", timeout=60, check=False)
    assert done.returncode == 0


SAME = """
from migsim import _jit, migrate
from migsim.compile_ahead import make_guest_kernels, make_network_kernels
names = []
load = _jit.KernelFiles.load
_jit.KernelFiles.load = lambda self, name: names.append(name.split("-")[0]) or load(self, name)
make_network_kernels("cubic", 0.0)
make_guest_kernels("uniform")
print(*names)
names.clear()
migrate("precopy", "uniform", "gigabit", memory="16MiB")
print(*names)
"""


@compiled_only
def test_it_makes_what_a_migration_needs() -> None:
    ahead, later = (set(line.split()) for line in python(SAME).splitlines())
    assert ahead > {"run_window_rounds", "pause_streams", "_draw", "first_bad_page", "fold_writes"}
    assert later <= {"run_bulk", "random_unit"}  # those that the first process makes meanwhile
    assert not ahead & later  # the same kernels for the same types
