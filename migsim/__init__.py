"""migsim: a testbed for the algorithms of virtual-machine live migration.

>>> import migsim
>>> migsim.migrate("precopy", "idle", memory="64MiB").result.status
'completed'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from migsim._jit import jit
    from migsim._kernels.draws import (
        portable_exp,
        portable_log,
        random_bits,
        random_unit,
        remainder,
    )
    from migsim.build import child_seed, make_workload, workload_files
    from migsim.codecs import RAW, Codec, make_codec
    from migsim.disk import Disk
    from migsim.errors import InputError
    from migsim.machine import VirtualMachine
    from migsim.migration import Migration
    from migsim.network import Link
    from migsim.pages import Pages
    from migsim.parameters import NamesFiles, split_call, split_outside
    from migsim.registry import trace_path
    from migsim.result import Result
    from migsim.simulate import Outcome, migrate, run
    from migsim.source import Sent
    from migsim.task import Task
    from migsim.workload import Steady, Workload

# Loaded on first use: numba alone takes half a second, and `migsim --help` needs none of it.
_HOMES = {
    "jit": "_jit",
    "portable_exp": "_kernels.draws",
    "portable_log": "_kernels.draws",
    "random_bits": "_kernels.draws",
    "random_unit": "_kernels.draws",
    "remainder": "_kernels.draws",
    "child_seed": "build",
    "make_workload": "build",
    "split_call": "parameters",
    "split_outside": "parameters",
    "workload_files": "build",
    "RAW": "codecs",
    "Codec": "codecs",
    "make_codec": "codecs",
    "Disk": "disk",
    "InputError": "errors",
    "VirtualMachine": "machine",
    "Migration": "migration",
    "Sent": "source",
    "Link": "network",
    "Pages": "pages",
    "NamesFiles": "parameters",
    "trace_path": "registry",
    "Result": "result",
    "Outcome": "simulate",
    "migrate": "simulate",
    "run": "simulate",
    "Task": "task",
    "Steady": "workload",
    "Workload": "workload",
}

__all__ = [
    "RAW",
    "Codec",
    "Disk",
    "InputError",
    "Link",
    "Migration",
    "NamesFiles",
    "Outcome",
    "Pages",
    "Result",
    "Sent",
    "Steady",
    "Task",
    "VirtualMachine",
    "Workload",
    "child_seed",
    "jit",
    "make_codec",
    "make_workload",
    "migrate",
    "portable_exp",
    "portable_log",
    "random_bits",
    "random_unit",
    "remainder",
    "run",
    "split_call",
    "split_outside",
    "trace_path",
    "workload_files",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'migsim' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"migsim.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
