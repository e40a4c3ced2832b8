"""A stored result's task, to be simulated once more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from migsim.clients import client_parameters
from migsim.disk import Disk
from migsim.errors import InputError
from migsim.machine import VirtualMachine
from migsim.parameters import Parameter, read_parameters
from migsim.registry import find
from migsim.task import MODEL_VERSION, ResolvedTask, Task, with_content

__all__ = ["task_of"]

_REASONS = {
    "model": "the model's version",
    "algorithm_digest": "the algorithm's source",
    "workload_digest": "the workload's source or files",
    "link_digest": "the link's files",
    "codec_costs_digest": "the costs of codecs",
    "disk_digest": "the source or files of the disk's workload",
}
"""What the parts of a task's key are, besides its parameters."""


def task_of(row: Mapping[Any, Any]) -> ResolvedTask:
    """Return the task whose result is ``row``, a row of `migsim.store.frame`.

    Raises `InputError` where it cannot be had, or has another key now: then something that decides
    its result has changed since, and simulating it again would show another migration.
    """
    key = str(row.get("key", ""))
    name = f"result {key[:12] or '(without a key)'}"
    if not _missing(row.get("work")):
        raise InputError(
            f"{name}: cannot be simulated again as one migration, it is of another kind of work, "
            f"'{row['work']}': run its experiment"
        )
    for column in ("algorithm", "workload", "link", "seed", "model"):
        if _missing(row.get(column)):
            raise InputError(f"{name}: cannot be simulated again, it has no '{column}'")
    if int(row["model"]) != MODEL_VERSION:
        raise InputError(
            f"{name}: cannot be simulated again, it is of model version {int(row['model'])}, "
            f"and this is {MODEL_VERSION}"
        )
    algorithm, workload, link = (
        find(kind, row[kind]) for kind in ("algorithm", "workload", "link")
    )
    own = {parameter.name for parameter in workload.parameters}
    common = [item for item in with_content(workload.parameters) if item.name not in own]
    task = Task(
        algorithm=row["algorithm"],
        workload=row["workload"],
        link=row["link"],
        seed=int(row["seed"]),
        algorithm_args=_arguments(row, "algorithm", algorithm.parameters),
        workload_args=_arguments(row, "workload", workload.parameters)
        | _arguments(row, "content", common),
        link_args=_arguments(row, "link", link.parameters),
        vm_args=_arguments(row, "vm", read_parameters(VirtualMachine, skip=0)),
        client_args=_client_arguments(row),
        age=0.0 if _missing(row.get("age")) else float(row["age"]),
        disk_args={}
        if _missing(row.get("disk.size"))
        else _arguments(row, "disk", read_parameters(Disk, skip=0)),
        limit_seconds=float(row.get("limit_seconds", 86_400.0)),
        limit_acts=int(row.get("limit_acts", 100_000)),
    ).resolve()
    if task.key != key:
        now = task.describe()
        changed = [text for part, text in _REASONS.items() if now.get(part) != row.get(part)]
        reason = " and ".join(changed) or "a parameter or its default"
        verb = "have" if len(changed) > 1 else "has"
        raise InputError(f"{name}: cannot be simulated again, {reason} {verb} changed since")
    return task


def _client_arguments(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the clients' parameters: a row of usual clients has none, or gaps beside others."""
    reach = row.get("clients.reach")
    return {} if _missing(reach) else _arguments(row, "clients", client_parameters(str(reach)))


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _arguments(
    row: Mapping[Any, Any], prefix: str, parameters: tuple[Parameter, ...] | list[Parameter]
) -> dict[str, Any]:
    """Return the parameters that a row names; tables have gaps for nothing and for empty texts."""
    found: dict[str, Any] = {}
    for parameter in parameters:
        column = f"{prefix}.{parameter.name}"
        if column not in row:
            continue
        value = row[column]
        if not _missing(value):
            found[parameter.name] = value.item() if hasattr(value, "item") else value
        elif parameter.optional:
            found[parameter.name] = None
        elif parameter.type is str:
            found[parameter.name] = ""
    return found
