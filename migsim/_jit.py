"""The only import of numba: one typed decorator, with all compiler options in one place.

A kernel that Python calls is compiled together with the helpers that it calls, and kept on disk
under a digest of all their code (`migsim._kernel_digest`), of the types that it was compiled for,
of the processor and of the versions of the compiler. So no edit anywhere can leave stale code in
use, and whatever is found under a name is what compiling it again would give.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
from numba.core import caching, codegen, compiler, runtime, serialize

from migsim._kernel_digest import UnknownPartError, kernel_digest
from migsim._kernel_files import KernelFiles

__all__ = ["compile_seconds", "jit", "kernel_cache_directory"]

_config: Any = numba.config
# Its types know only of what is documented.
_njit: Any = numba.njit
_dumps: Any = serialize.dumps
_rebuild: Any = compiler.CompileResult._rebuild
_codegen: Any = codegen
_runtime: Any = runtime

P = ParamSpec("P")
R = TypeVar("R")

_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
"""What users can set in numba's environment that changes the code it makes."""

# No fast-math and no threads: the same task must give the same bits on any machine, and
# parallelism is over tasks. Helpers take many arrays, and passing those costs more than the helpers
# do: inlining them makes the post-copy kernel three times as fast.
_OPTIONS = {
    "nogil": True,
    "fastmath": False,
    "error_model": "numpy",
    "forceinline": True,
    "no_cfunc_wrapper": True,
}


def kernel_cache_directory() -> Path:
    """Return the folder that holds compiled kernels.

    ``NUMBA_CACHE_DIR`` moves it; it changes where compiled code lies, never a result.
    """
    base = os.environ.get("NUMBA_CACHE_DIR")
    if base is None:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "migsim-kernels"


_spent: list[float] = []


def compile_seconds() -> float:
    """Return how long this process has compiled kernels so far, or loaded them."""
    return sum(_spent)


@functools.cache
def _compiler() -> str:
    """Return all that compiled code depends on beside the kernel and the processor."""
    versions = sys.version_info, numba.__version__, _codegen.ll.llvm_version_info, np.__version__
    settings = [(name, str(getattr(_config, name, None))) for name in _SETTINGS]
    return repr((versions, settings, hashlib.sha256(Path(__file__).read_bytes()).hexdigest()))


def _described(kind: Any) -> object:
    """Return a type of numba as text; raise `UnknownPartError` for that of a function.

    A named tuple counts with the names of its fields, by which kernels look them up, and with its
    module, in which numba looks it up.
    """
    if isinstance(kind, numba.types.Callable):
        raise UnknownPartError(f"{kind} is a function")
    parts: Any = kind if isinstance(kind, numba.types.BaseTuple) else ()
    named = getattr(getattr(kind, "instance_class", None), "__module__", "")
    return str(kind), named, getattr(kind, "fields", ()), [_described(part) for part in parts]


def _symbols(library: Any) -> list[str]:
    """Return the names of what compiled code finds in the process that runs it."""
    module = library._final_module
    names = [part.name for group in (module.functions, module.global_variables) for part in group
             if part.is_declaration]  # fmt: skip
    return [name for name in names if not name.startswith("llvm.")]


class _Kept(caching._Cache):
    """Numba's side of the disk cache, for one kernel."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._began = 0.0

    def _name(self, signature: Any, codegen: Any) -> str | None:
        """Return the file of a kernel compiled for a signature; None if it may not be kept."""
        function = self._function
        try:
            made_of = [kernel_digest(function), _compiler(), codegen.magic_tuple()]
            made_of += [_described(kind) for kind in signature]
        except UnknownPartError:
            return None
        made_of += [function.__module__, function.__qualname__]
        return f"{function.__name__}-{hashlib.sha256(repr(made_of).encode()).hexdigest()}"

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the code that was kept for a signature, or None."""
        self._began = time.perf_counter()
        name = self._name(signature, context.codegen())
        data = None if name is None else KernelFiles(kernel_cache_directory()).load(name)
        if data is None:
            context.refresh()
            return None
        symbols, parts = pickle.loads(data)
        _runtime.rtsys.initialize(context)
        if any(_codegen.ll.address_of_symbol(symbol) is None for symbol in symbols):
            context.refresh()  # loads all of numba: more than half the time of a short run
        result = _rebuild(context, *parts)
        _spent.append(time.perf_counter() - self._began)
        return result

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep the code for a signature, unless it holds addresses of this process."""
        for environment in result._find_referenced_environments():  # those of helpers
            result.codegen.set_env(environment.env_name, environment)
        name = self._name(signature, result.codegen)
        if name is not None and not result.library.has_dynamic_globals and not result.lifted:
            kept = _dumps((_symbols(result.library), result._reduce()))
            KernelFiles(kernel_cache_directory()).save(name, kept)
        _spent.append(time.perf_counter() - self._began)

    cache_path = property(lambda self: str(kernel_cache_directory()))

    def flush(self) -> None:
        """Keep what is there: it is named by what it was made of."""

    enable = disable = flush


class _NoEngine:
    """What numba takes for the engine that runs a helper."""

    def set_env(self, name: str, environment: Any) -> None:
        """Leave the helper's environment to the kernel, see `_Kept.save_overload`."""


class _PartLibrary(codegen.JITCodeLibrary):
    """The code of a helper, which is only ever inlined: optimised there, and never made native."""

    codegen = _NoEngine()

    def _optimize_final_module(self) -> None:
        """Leave that to the kernel."""

    def _finalize_final_module(self) -> None:
        """Stay what can be linked into a kernel."""
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return that there is none."""
        return 0


class _PartCompiler(compiler.Compiler):
    """Numba's compiler, for helpers."""

    def _compile_core(self) -> Any:
        state: Any = self.state
        library: Any = _PartLibrary
        state.library = library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        base: Any = super()
        return base._compile_core()


class _Kernel:
    """A function that is compiled twice at most: for Python, and as a part of other kernels.

    What only other kernels call needs no way in from Python and no file of its own: leaving those
    out saves a third of the time of a first run.

    Attributes:
        py_func: the function itself.
    """

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        # Our own kernels make no arrays, so references need not be counted: where sets of pages
        # are named tuples of arrays, that takes more time than all the rest.
        makes_arrays = not function.__module__.startswith("migsim._kernels.")
        self._options = {**_OPTIONS, "_nrt": makes_arrays}

    @functools.cached_property
    def compiled(self) -> Any:
        """What Python calls; kept on disk."""
        dispatcher: Any = _njit(self.py_func, **self._options)
        dispatcher._cache = _Kept(self.py_func)
        return dispatcher

    @functools.cached_property
    def part(self) -> Any:
        """What other kernels call."""
        return _njit(
            self.py_func, no_cpython_wrapper=True, pipeline_class=_PartCompiler, **self._options
        )

    @property
    def _numba_type_(self) -> Any:
        """What numba takes this for where another kernel names it, or it names itself."""
        kernel = self.compiled if self.compiled.is_compiling else self.part
        return kernel._numba_type_

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.compiled(*args, **kwargs)

    def __reduce__(self) -> str:
        return str(self.py_func.__qualname__)


def _with_attributes(value: Any) -> Any:
    """Return an array of records as one whose records have attributes, as in compiled code.

    So are those in named tuples.
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_with_attributes, value))
    plain = isinstance(value, np.ndarray) and value.dtype.names is not None
    return value.view(np.recarray) if plain else value


def _interpreted(function: Callable[P, R]) -> Callable[P, R]:
    """Return the plain function; 64-bit hashes may wrap around in it as in compiled code."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> R:
        with np.errstate(over="ignore"):
            return function(*map(_with_attributes, args), **kwargs)

    interpreted: Any = call
    return interpreted  # type: ignore[no-any-return]


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` compiled on its first call for the types it is called with.

    With ``NUMBA_DISABLE_JIT=1`` the function stays interpreted, which is the readable twin that
    the tests compare with.
    """
    if _config.DISABLE_JIT:
        return _interpreted(function)
    kernel: Any = _Kernel(function)
    return kernel  # type: ignore[no-any-return]
