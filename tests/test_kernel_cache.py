"""The name of a kernel's machine code tells all that it was made of; its file is whole, or not."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numba
import pytest

from migsim._jit import _Kept, jit
from migsim._kernel_digest import UnknownPartError, kernel_digest
from migsim._kernel_files import KernelFiles
from migsim._kernels.encoding import Memory

HELPER = """
from migsim import jit
STEP = 2
@jit
def helper(x, more=1):
    return x + more
def unused(x):
    return x
"""
KERNEL = """
import numpy as np
import other
from other import STEP, helper
from migsim import jit
TABLE = np.arange(3)
PAIRS = ((1, 2.0), (3, 4.0))
@jit
def kernel(x):
    return helper(x) * STEP + TABLE[1] + PAIRS[0][0] + other.helper(x)
"""


def made_of(helper: str, kernel: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return the digest of `kernel` in one module, with a helper in another, called other."""
    other, module = ModuleType("other"), ModuleType("module")
    exec(helper, vars(other))
    monkeypatch.setitem(__import__("sys").modules, "other", other)
    exec(kernel, vars(module))
    return kernel_digest(getattr(module.kernel, "py_func", module.kernel))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
class TestDigest:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("x + more", "x - more"),
            ("more=1", "more=2"),
            ("STEP = 2", "STEP = 2.0"),
            ("STEP + TABLE", "STEP - TABLE"),
            ("arange(3)", "arange(4)"),
            ("arange(3)", "arange(3.0)"),
            ("(3, 4.0)", "(3, 4.5)"),
            ("other.helper(x)", "other.helper(x + 1)"),
        ],
    )
    def test_an_edit_anywhere_shows(
        self, before: str, after: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = made_of(HELPER, KERNEL, monkeypatch)
        assert made_of(HELPER, KERNEL, monkeypatch) == first
        edited = HELPER.replace(before, after), KERNEL.replace(before, after)
        assert edited != (HELPER, KERNEL)
        assert made_of(*edited, monkeypatch) != first

    def test_an_edit_of_something_else_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        other = HELPER.replace("return x\n", "return -x\n")
        assert other != HELPER
        first = made_of(HELPER, KERNEL, monkeypatch)
        assert made_of(other, "\n\n" + KERNEL, monkeypatch) == first

    def test_what_nobody_can_follow_is_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UnknownPartError, match="helper"):
            made_of(HELPER.replace("@jit\n", ""), KERNEL, monkeypatch)

    def test_a_closure_counts(self) -> None:
        def kernel(step: int) -> Callable[[int], int]:
            return lambda x: x + step

        digests = {kernel_digest(kernel(step)) for step in (1, 2, 2)}  # type: ignore[arg-type]
        assert len(digests) == 2


def name(signature: tuple[object, ...], processor: str = "znver5", **settings: Any) -> str | None:
    codegen = SimpleNamespace(magic_tuple=lambda: ("x86_64", processor, "+avx512f"))
    return _Kept(lambda x: x)._name(signature, codegen)


def test_code_is_kept_by_types_and_processor() -> None:
    plain = name((numba.int64,))
    assert plain == name((numba.int64,))
    assert plain != name((numba.int64,), "znver3")
    assert plain != name((numba.float64,))
    kinds = [numba.uint64] * len(Memory._fields)
    swapped = type("Memory", (Memory,), {"_fields": Memory._fields[::-1]})
    both = {name((numba.types.NamedTuple(kinds, fields),)) for fields in (Memory, swapped)}
    assert len(both) == 2
    moved = type("Memory", (Memory,), {"__module__": "elsewhere"})
    both |= {name((numba.types.NamedTuple(kinds, moved),))}
    assert len(both) == 3
    assert name((numba.typeof(numba.njit(lambda x: x)),)) is None


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    files = KernelFiles(tmp_path / "new")
    assert files.load("a") is None
    files.save("a", b"code")
    files.save("a", b"other code")
    assert files.load("a") == b"other code"
    path = tmp_path / "new" / "a"
    for damaged in (b"", path.read_bytes()[:-1], b"\0" + path.read_bytes()[1:]):
        path.write_bytes(damaged)
        assert files.load("a") is None


def test_a_full_disk_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "no space left")

    files = KernelFiles(tmp_path)
    files.save("a", b"code")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        files.save("a", b"half")
    assert files.load("a") == b"code"
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".swept"}


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files = KernelFiles(tmp_path / "file" / "folder")
    files.save("a", b"code")
    assert files.load("a") is None


def test_what_is_long_out_of_use_goes(tmp_path: Path) -> None:
    files, month = KernelFiles(tmp_path), 31 * 86400
    for kept in ("used", "unused", "new-half"):
        files.save(kept, b"code")
        os.utime(tmp_path / kept, (time.time() - month,) * 2)
    files.save("first", b"code")
    assert (tmp_path / "unused").exists()  # swept today
    assert files.load("used") == b"code"
    os.utime(tmp_path / ".swept", (time.time() - month,) * 2)
    files.save("second", b"code")
    assert {path.name for path in tmp_path.iterdir()} == {".swept", "first", "second", "used"}


def test_a_kernel_is_callable_by_name_and_has_its_docstring() -> None:
    @jit
    def twice(x: int) -> int:
        """Return the double."""
        return 2 * x

    assert twice(x=4) == 8
    assert twice.__doc__ == "Return the double."
