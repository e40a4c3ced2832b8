"""Finds plug-ins: algorithms, workloads, links and experiments, by name, file or module.

The only module that knows where the plug-in folders lie: beside ``migsim`` in a checkout, inside
it in an installed wheel.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import marshal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from migsim.digests import digest_of_file
from migsim.errors import InputError, did_you_mean
from migsim.network.link import PRESETS, Link
from migsim.parameters import Parameter, read_parameters

__all__ = [
    "Kind",
    "Plugin",
    "digest_of",
    "files_named",
    "find",
    "from_function",
    "load_experiment",
    "names",
    "trace_path",
]

Kind = Literal["algorithm", "workload", "link", "experiment"]

_loading = threading.RLock()
"""Held while a file is loaded: a worker of a cluster may have several threads."""

# Positional parameters before the keyword ones: (migration), (vm, seed).
_POSITIONAL = {"algorithm": 1, "workload": 2}


@dataclass(frozen=True)
class Plugin:
    """One algorithm, workload or link.

    Attributes:
        kind: what it is.
        name: its name, or the text that it was found by.
        call: the function; for a link `Link` itself.
        parameters: its keyword parameters with defaults.
        summary: the first sentence of its documentation.
        digest: SHA-256 of its source file; empty for a link, whose parameters say everything.
    """

    kind: Kind
    name: str
    call: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    summary: str
    digest: str


@functools.cache
def _folder(kind: Kind) -> tuple[Path, str]:
    """Return the folder of a kind of plug-in and the package name under which it is imported."""
    package = Path(__file__).resolve().parent
    name = f"{kind}s"
    if (package / name).is_dir():
        return package / name, f"migsim.{name}"
    return package.parent / name, name


def names(kind: Kind) -> list[str]:
    """Return the names of all built-in plug-ins of a kind, sorted; links as they are listed."""
    if kind == "link":
        return list(PRESETS)
    folder, _ = _folder(kind)
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def trace_names() -> list[str]:
    """Return the names of the committed recordings."""
    return sorted(path.stem for path in (_folder("workload")[0] / "traces").glob("*.mtrace"))


def trace_path(name: str) -> Path:
    """Return the file of a recorded trace: a committed one by its bare name, or any by its path.

    Raises `InputError` where there is no such trace.
    """
    known = trace_names()
    if name in known:
        return _folder("workload")[0] / "traces" / f"{name}.mtrace"
    path = Path(name)
    if path.is_file():
        return path
    if "/" in name or name.endswith(".mtrace"):
        raise InputError(f"trace {name}: there is no such file")
    raise InputError(f"trace '{name}': there is no such trace, {did_you_mean(name, known)}")


def find(kind: Kind, name: str | Callable[..., Any]) -> Plugin:
    """Return the plug-in called ``name``.

    ``name`` is a built-in name, ``path/to/file.py:function``, ``package.module:function``, or the
    function itself. Raises `InputError` where it cannot be found or loaded.
    """
    if not isinstance(name, str):
        return _from_object(kind, name)
    if kind == "link":
        return _link(name)
    if ":" not in name:
        if name.endswith(".py"):
            raise InputError(f"{kind} '{name}': expected {name}:FUNCTION")
        folder, package = _folder(kind)
        listed = name.isidentifier() and not name.startswith("_")
        if not listed or not (folder / f"{name}.py").is_file():
            raise InputError(f"unknown {kind} '{name}', {did_you_mean(name, names(kind))}")
        return _plugin(kind, name, _load_file(folder / f"{name}.py", f"{package}.{name}"), name)
    place, _, function = name.rpartition(":")
    module = _load(kind, place)
    return _plugin(kind, name, module, function)


def load_experiment(name: str) -> ModuleType:
    """Return the module of an experiment, built-in or ``path/to/file.py``. Raises `InputError`."""
    if name.endswith(".py") or "/" in name:
        return _load("experiment", name)
    if name not in names("experiment"):
        known = names("experiment")
        raise InputError(f"unknown experiment '{name}', {did_you_mean(name, known)}")
    folder, package = _folder("experiment")
    return _load_file(folder / f"{name}.py", f"{package}.{name}")


def _load(kind: Kind, place: str) -> ModuleType:
    if place.endswith(".py") or "/" in place:
        path = Path(place)
        if not path.is_file():
            raise InputError(f"{kind} {place}: there is no such file")
        digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
        return _load_file(path, f"migsim_user_{digest}_{path.stem}")
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise _unloadable(kind, place, error) from None


def _load_file(path: Path, module_name: str) -> ModuleType:
    """Import a file under a name of ours, and again once it has changed.

    In a notebook a file is edited and run again; the key names the new source, so that must run.
    """
    with _loading:
        return _load_once(path, module_name)


def _load_once(path: Path, module_name: str) -> ModuleType:
    loaded = sys.modules.get(module_name)
    if loaded is not None:
        digest = digest_of_file(path)
        if getattr(loaded, "_migsim_digest", digest) == digest:
            return loaded
    source = path.read_bytes()
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    module._migsim_digest = hashlib.sha256(source).hexdigest()  # type: ignore[attr-defined]
    sys.modules[module_name] = module
    try:
        # Not by the loader: it may run what it compiled before the file was changed, as it tells
        # files apart by their size and second only.
        exec(compile(source, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _unloadable("file", str(path), error) from None
    return module


def _unloadable(kind: str, place: str, error: BaseException) -> InputError:
    sentence = " ".join(str(error).split())
    return InputError(f"{kind} {place}: cannot be loaded: {type(error).__name__}: {sentence}")


def _plugin(kind: Kind, name: str, module: ModuleType, function: str) -> Plugin:
    call = getattr(module, function, None)
    if not callable(call):
        own = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise InputError(
            f"{kind} '{name}': {module.__name__} has no function '{function}', "
            f"{did_you_mean(function, own)}"
        )
    source = getattr(module, "__file__", None)  # built-in modules lack it
    if not source:
        raise InputError(f"{kind} '{name}': module {module.__name__} has no source file")
    return from_function(kind, name, call, digest_of_file(Path(source)))


def _from_object(kind: Kind, call: Callable[..., Any]) -> Plugin:
    if not inspect.isfunction(call):
        # The key has to name the source, and that of other callables cannot be found.
        raise InputError(f"{kind} {call!r}: expected a function or its name")
    try:
        source = inspect.getsource(call).encode()
    except OSError:  # typed in at a prompt
        source = marshal.dumps(call.__code__)
    return from_function(kind, call.__qualname__, call, hashlib.sha256(source).hexdigest())


def from_function(kind: Kind, name: str, call: Callable[..., Any], digest: str) -> Plugin:
    """Return a plug-in made of a function."""
    parameters = read_parameters(call, skip=_POSITIONAL[kind])
    return Plugin(kind, name, call, parameters, _summary(call.__doc__), digest)


def digest_of(plugin: Plugin, values: Mapping[str, Any]) -> str:
    """Return the digest of a plug-in's source and of every file that its parameters name.

    Recorded traces and plug-ins inside plug-ins are such files; a result depends on them as well.
    """
    digest = hashlib.sha256(plugin.digest.encode())
    for path in files_named(plugin, values):
        digest.update(bytes.fromhex(digest_of_file(path)))
    return digest.hexdigest()


def files_named(plugin: Plugin, values: Mapping[str, Any]) -> list[Path]:
    """Return the files that the parameters of a plug-in name, defaults where no value is given."""
    files: list[Path] = []
    for parameter in plugin.parameters:
        named = values.get(parameter.name, parameter.default)
        if parameter.names_files is not None and named is not None:
            files += parameter.names_files.files(str(named))
    return files


def _summary(doc: str | None) -> str:
    paragraph = inspect.cleandoc(doc or "").split("\n\n")[0]
    return " ".join(paragraph.split())


@functools.cache
def _link(name: str) -> Plugin:
    if name not in PRESETS:
        raise InputError(f"unknown link '{name}', {did_you_mean(name, PRESETS)}")
    summary, preset = PRESETS[name]
    parameters = tuple(
        replace(parameter, default=preset.get(parameter.name, parameter.default))
        for parameter in read_parameters(Link, skip=0)
    )
    return Plugin("link", name, Link, parameters, summary, "")
