"""Turning names and parameters into machines, links and workloads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from migsim._kernels.draws import random_bits
from migsim.disk import Disk
from migsim.errors import InputError
from migsim.machine import VirtualMachine
from migsim.parameters import Context, Scalar, convert_all, read_parameters, split_call
from migsim.registry import Plugin, digest_of, files_named, find
from migsim.workload import Workload

__all__ = [
    "build_disk",
    "build_disk_workload",
    "build_vm",
    "build_workload",
    "child_seed",
    "digest_of_disk",
    "make_workload",
    "workload_files",
]

_DISK_PART = 1 << 40
"""The part of the guest's behaviour that is its disk; far from the parts of its memory."""


def build_vm(given: Mapping[str, Any]) -> VirtualMachine:
    """Return the machine with the given attributes, as text or as numbers. Raises `InputError`."""
    values = convert_all(
        "virtual machine", read_parameters(VirtualMachine, skip=0), given, Context()
    )
    return VirtualMachine(**values)  # type: ignore[arg-type]


def build_disk(given: Mapping[str, Any]) -> Disk:
    """Return the disk with the given attributes, as text or as numbers. Raises `InputError`."""
    values = convert_all("disk", read_parameters(Disk, skip=0), given, Context())
    return Disk(**values)  # type: ignore[arg-type]


def build_disk_workload(disk: Disk, seed: int) -> Workload:
    """Return the I/Os of a guest with that ``seed``. Raises `InputError` where they do not fit."""
    try:
        return make_workload(disk.workload, disk.as_memory, child_seed(seed, _DISK_PART))
    except InputError as error:
        raise InputError(f"disk: {error}") from None


def digest_of_disk(disk: Disk) -> str:
    """Return the digest of the source and of all files that its workload depends on."""
    name, given = split_call(disk.workload)
    return digest_of(find("workload", name), given)


def build_workload(
    plugin: Plugin, values: Mapping[str, Scalar], vm: VirtualMachine, seed: int
) -> Workload:
    """Return the workload that ``plugin`` makes, checked to fit the machine.

    Raises `InputError` where the parameters do not go together.
    """
    workload: Workload = plugin.call(vm, seed, **values)
    if not all(hasattr(workload, name) for name in ("pages", "index", "accesses")):
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
