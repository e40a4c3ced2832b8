"""Turning names and parameters into machines, links and workloads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from migsim._kernels.draws import random_bits
from migsim.errors import InputError
from migsim.machine import VirtualMachine
from migsim.parameters import Context, Scalar, convert_all, read_parameters, split_call
from migsim.registry import Plugin, files_named, find
from migsim.workload import Workload

__all__ = [
    "build_vm",
    "build_workload",
    "child_seed",
    "make_workload",
    "workload_files",
]


def build_vm(given: Mapping[str, Any]) -> VirtualMachine:
    """Return the machine with the given attributes, as text or as numbers. Raises `InputError`."""
    values = convert_all(
        "virtual machine", read_parameters(VirtualMachine, skip=0), given, Context()
    )
    return VirtualMachine(**values)  # type: ignore[arg-type]


def build_workload(
    plugin: Plugin, values: Mapping[str, Scalar], vm: VirtualMachine, seed: int
) -> Workload:
    """Return the workload that ``plugin`` makes, checked to fit the machine.

    Raises `InputError` where the parameters do not go together.
    """
    workload: Workload = plugin.call(vm, seed, **values)
    if not isinstance(workload, Workload):
        raise InputError(
            f"workload '{plugin.name}' returned {type(workload).__name__}, "
            "expected an object with pages, index and accesses"
        )
    if workload.pages > vm.pages:
        raise InputError(
            f"workload '{plugin.name}' touches {workload.pages} pages, "
            f"but the memory holds {vm.pages}"
        )
    return workload


def child_seed(seed: int, part: int) -> int:
    """Return the seed of a part of a workload; no other part of any seed shares it."""
    return int(random_bits(np.uint64(seed % 2**64), part))


def make_workload(text: str, vm: VirtualMachine, seed: int) -> Workload:
    """Return the workload written as ``name(key=value, ...)``: how workloads contain others.

    Raises `InputError` where the text cannot be used.
    """
    name, given = split_call(text)
    plugin = find("workload", name)
    context = Context(vm.page_size, vm.memory)
    values = convert_all(f"workload '{name}'", plugin.parameters, given, context)
    return build_workload(plugin, values, vm, seed)


def workload_files(text: str) -> list[Path]:
    """Return the files that a workload written as ``name(key=value, ...)`` depends on."""
    name, given = split_call(text)
    plugin = find("workload", name)
    return [Path(inspect.getfile(plugin.call)), *files_named(plugin, given)]
