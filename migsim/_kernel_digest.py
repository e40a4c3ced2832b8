"""What a compiled kernel was made of, as a digest: the name under which its machine code is kept.

A kernel's machine code contains the helpers that it calls, wherever they are defined, and the
constants that its code names. All of these are followed, so an edit to any of them, in whichever
file, gives another digest; an edit to something else gives the same one.
"""

from __future__ import annotations

import builtins
import dis
import hashlib
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

__all__ = ["UnknownPartError", "kernel_digest"]

_VERSIONED = {"math", "numba", "numpy"}
"""Packages of which the caller's own key tells the version."""


class UnknownPartError(Exception):
    """A kernel uses something of which nobody can tell whether it has changed."""


def kernel_digest(function: FunctionType) -> bytes:
    """Return a digest of a function and all that code compiled from it depends on.

    Raises `UnknownPartError` where it depends on what is neither a constant, nor a kernel, nor a
    part of NumPy: its code must not be kept then.
    """
    return _function_digest(function, {})


def _function_digest(function: FunctionType, known: dict[int, bytes]) -> bytes:
    """Return the digest; ``known`` are those of functions seen before, by their ids."""
    if id(function) in known:
        return known[id(function)]
    known[id(function)] = b"itself"  # for a helper that calls itself
    defaults = (function.__defaults__, tuple(sorted((function.__kwdefaults__ or {}).items())))
    parts: list[object] = [_value(defaults, known)]
    for cell, name in zip(function.__closure__ or (), function.__code__.co_freevars, strict=True):
        parts.append((name, _value(cell.cell_contents, known)))
    parts.append(_code(function.__code__, function.__globals__, known))
    known[id(function)] = hashlib.sha256(repr(parts).encode()).digest()
    return known[id(function)]


def _code(code: CodeType, scope: dict[str, Any], known: dict[int, bytes]) -> list[object]:
    """Return what a code object does, and what the global names in it stand for."""
    parts: list[object] = [code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames]
    # Not `co_flags`: numba's dispatcher overwrites them while somebody profiles.
    parts += [code.co_freevars, code.co_cellvars, code.co_argcount, code.co_kwonlyargcount]
    for constant in code.co_consts:
        inner = isinstance(constant, CodeType)
        parts.append(_code(constant, scope, known) if inner else _value(constant, known))
    for name in code.co_names:  # attributes are among them, too
        if name not in scope:
            continue
        try:
            parts.append((name, _named(scope[name], code, scope, known)))
        except UnknownPartError as error:
            if _is_global(name, code):
                raise UnknownPartError(f"{name}: {error}") from None
    return parts


def _named(value: Any, code: CodeType, scope: dict[str, Any], known: dict[int, bytes]) -> object:
    """Return what a global name stands for; of a module, what else the code names of it."""
    if not isinstance(value, ModuleType) or value.__name__.partition(".")[0] in _VERSIONED:
        return _value(value, known)
    parts = vars(value)
    return [
        (name, _named(parts[name], code, scope, known)) for name in code.co_names if name in parts
    ]


def _is_global(name: str, code: CodeType) -> bool:
    loads = {step.argval for step in dis.get_instructions(code) if "GLOBAL" in step.opname}
    return name in loads


def _value(value: Any, known: dict[int, bytes]) -> object:
    """Return something whose ``repr`` differs wherever compiled code would differ."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return type(value).__name__, repr(value)
    if isinstance(value, tuple | frozenset):
        parts = [_value(part, known) for part in value]
        return type(value).__name__, parts if isinstance(value, tuple) else sorted(map(repr, parts))
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, np.dtype):
        return repr(value)
    function = getattr(value, "py_func", None)  # a kernel, of ours or of numba
    if isinstance(function, FunctionType):
        options = getattr(value, "targetoptions", {})
        return _function_digest(function, known), repr(sorted(options.items()))
    module = str(getattr(value, "__module__", None))
    if module.partition(".")[0] in _VERSIONED or module == builtins.__name__:
        return module, getattr(value, "__qualname__", repr(value))
    if isinstance(value, type) and issubclass(value, tuple):
        return module, value.__qualname__, getattr(value, "_fields", ())
    if isinstance(value, ModuleType):
        return value.__name__
    raise UnknownPartError(f"{value!r} is no constant and no kernel")
