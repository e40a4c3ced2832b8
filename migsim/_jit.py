"""The only import of numba: one typed decorator, with all compiler options in one place.

A compiled kernel is cached on disk. Numba marks a cache entry by the kernel's own file, so after
an edit to a helper in *another* file a caller would silently return what the old helper returned.
Therefore the cache folder is named by a digest of all kernel sources: any edit starts a new one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np

__all__ = ["jit", "kernel_cache_directory"]

_config: Any = numba.config

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def kernel_cache_directory() -> Path:
    """Return the folder that holds compiled kernels of exactly these sources and versions.

    ``NUMBA_CACHE_DIR`` moves it; it changes where compiled code lies, never a result.
    """
    base = os.environ.get("NUMBA_CACHE_DIR")
    if base is None:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = hashlib.sha256(f"{sys.version_info} {numba.__version__} {np.__version__}".encode())
    for source in [Path(__file__), *sorted((Path(__file__).parent / "_kernels").glob("*.py"))]:
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return Path(base) / f"migsim-kernels-{digest.hexdigest()[:16]}"


def _interpreted(function: Callable[P, R]) -> Callable[P, R]:
    """Return the plain function; 64-bit hashes may wrap around in it as in compiled code."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(over="ignore"):
            return function(*args, **kwargs)

    return call


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` compiled on its first call for the types it is called with.

    No fast-math and no threads: the same task must give the same bits on any machine, and
    parallelism is over tasks. With ``NUMBA_DISABLE_JIT=1`` the function stays interpreted, which
    is the readable twin that the tests compare with.
    """
    if _config.DISABLE_JIT:
        return _interpreted(function)
    # Helpers take many arrays, and passing those costs more than the helpers do: inlining them
    # makes the post-copy kernel three times as fast.
    # Our own kernels make no arrays, so references need not be counted: where sets of pages are
    # named tuples of arrays, that takes more time than all the rest.
    makes_arrays = not function.__module__.startswith("migsim._kernels.")
    compiled: Any = numba.njit(
        function, nogil=True, fastmath=False, error_model="numpy", forceinline=True,
        _nrt=makes_arrays,
    )  # fmt: skip
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(kernel_cache_directory())
    try:
        compiled.enable_caching()
    except RuntimeError:
        pass  # no writable cache folder: compile anew in every process
    finally:
        _config.CACHE_DIR = before
    result: Callable[P, R] = compiled
    return result
