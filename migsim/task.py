"""A task: everything that decides the outcome of one migration, and the key that names it.

The key is the SHA-256 of a text that a person can print and read: the canonical JSON of the task
with all defaults filled in, the model version and the digests of the plug-ins' sources.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from migsim.aged import aged
from migsim.build import (
    build_disk,
    build_disk_workload,
    build_vm,
    build_workload,
    digest_of_disk,
)
from migsim.clients import Clients, build_clients
from migsim.codec_costs import digest_of_costs
from migsim.content import ContentRule, parse_content
from migsim.disk import Disk
from migsim.errors import InputError
from migsim.limits import Limits
from migsim.machine import VirtualMachine
from migsim.network import Link
from migsim.parameters import Context, Parameter, Scalar, convert_all, read_parameters
from migsim.registry import Plugin, digest_of, find
from migsim.workload import Workload

__all__ = ["MODEL_VERSION", "ResolvedTask", "Task", "canonical_json", "key_of", "with_content"]

MODEL_VERSION = 6
"""Raised whenever results change on purpose: rows of another version are never reused."""

_SEED_LIMIT = 2**63

Arguments = Mapping[str, Any] | tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One migration to be simulated; texts with units and plain numbers are equally good.

    Attributes:
        algorithm, workload: a built-in name, ``file.py:function``, ``package.module:function``, or
            the function itself.
        link: the name of a preset.
        memory: bytes of guest memory; short for ``vm_args["memory"]``.
        seed: chooses the guest's random behaviour and which packets are lost.
        algorithm_args, workload_args, link_args, vm_args: parameters that differ from defaults.
        client_args: the guest's clients, and the network between them (`migsim.clients`).
        age: seconds for which the guest has been running when the migration begins.
        disk_args: those of the disk (`migsim.disk.Disk`), one at least; without any, there is no
            disk.
        limit_seconds, limit_acts: where a migration that does not end is given up.
        label: a name for tables and figures; no part of the key.
    """

    algorithm: str | Callable[..., Any]
    workload: str | Callable[..., Any]
    link: str = "gigabit"
    memory: int | str | None = None
    seed: int = 0
    algorithm_args: Arguments = ()
    workload_args: Arguments = ()
    link_args: Arguments = ()
    vm_args: Arguments = ()
    client_args: Arguments = ()
    age: float = 0.0
    disk_args: Arguments = ()
    limit_seconds: float = 86_400.0
    limit_acts: int = 100_000
    label: str = ""

    def __post_init__(self) -> None:
        for name in (
            "algorithm_args", "workload_args", "link_args", "vm_args", "client_args", "disk_args",
        ):  # fmt: skip
            pairs = dict(getattr(self, name))
            object.__setattr__(self, name, tuple(sorted(pairs.items())))

    def resolve(self) -> ResolvedTask:
        """Return the task with everything looked up, filled in and checked. Raises `InputError`."""
        seed: Any = self.seed  # not all callers are type-checked
        whole = isinstance(seed, Integral) and not isinstance(seed, bool)
        if not whole or not -_SEED_LIMIT <= seed < _SEED_LIMIT:
            raise InputError(f"seed is {seed!r}, expected a 64-bit integer")
        vm_args = dict(self.vm_args)
        if self.memory is not None:
            if "memory" in vm_args:
                raise InputError("virtual machine: memory is given twice")
            vm_args["memory"] = self.memory
        vm = build_vm(vm_args)
        context = Context(vm.page_size, vm.memory)
        algorithm = find("algorithm", self.algorithm)
        workload = find("workload", self.workload)
        link = find("link", self.link)
        values = [
            convert_all(f"{plugin.kind} '{plugin.name}'", parameters, dict(given), context)
            for plugin, parameters, given in (
                (algorithm, algorithm.parameters, self.algorithm_args),
                (workload, with_content(workload.parameters), self.workload_args),
                (link, link.parameters, self.link_args),
            )
        ]
        own = {parameter.name for parameter in workload.parameters}
        content = {name: value for name, value in values[1].items() if name not in own}
        rule = ContentRule(**content)  # type: ignore[arg-type]
        parse_content(rule.content)
        return ResolvedTask(
            algorithm=algorithm,
            algorithm_args=values[0],
            workload=workload,
            workload_args={name: values[1][name] for name in values[1] if name in own},
            content=rule,
            link_name=self.link,
            link_args=values[2],
            vm=vm,
            clients=build_clients(dict(self.client_args)),
            disk=build_disk(dict(self.disk_args)) if self.disk_args else None,
            seed=int(seed),
            age=self._age(),
            limits=self._limits(),
        )

    def _age(self) -> float:
        age: Any = self.age
        if not isinstance(age, Real) or not 0 <= float(age) < math.inf:
            raise InputError(f"age is {age!r}, expected 0 seconds or more")
        return float(age)

    def _limits(self) -> Limits:
        seconds: Any = self.limit_seconds
        acts: Any = self.limit_acts
        if not isinstance(seconds, Real) or not float(seconds) > 0:
            raise InputError(f"limit_seconds is {seconds!r}, expected more than 0 seconds")
        if not isinstance(acts, Integral) or not int(acts) > 0:
            raise InputError(f"limit_acts is {acts!r}, expected a whole number above 0")
        return Limits(float(seconds), int(acts))

    @property
    def key(self) -> str:
        """The SHA-256 of the canonical text, in hexadecimal. Raises `InputError`."""
        return self.resolve().key


@dataclass(frozen=True)
class ResolvedTask:
    """A task whose plug-ins were found and whose parameters have all been converted."""

    algorithm: Plugin
    algorithm_args: dict[str, Scalar]
    workload: Plugin
    workload_args: dict[str, Scalar]
    content: ContentRule
    link_name: str
    link_args: dict[str, Scalar]
    vm: VirtualMachine
    clients: Clients
    disk: Disk | None
    seed: int
    age: float
    limits: Limits
    link: Link = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "link", Link(**self.link_args))  # type: ignore[arg-type]

    def make_workload(self) -> Workload:
        """Return the guest's workload. Raises `InputError` where it does not fit the machine."""
        workload = build_workload(self.workload, self.workload_args, self.vm, self.seed)
        return aged(workload, self.age)

    def make_disk_workload(self) -> Workload | None:
        """Return the guest's I/Os; None without a disk. Raises `InputError`."""
        if self.disk is None:
            return None
        return aged(build_disk_workload(self.disk, self.seed), self.age)

    def describe(self) -> dict[str, Any]:
        """Return all that decides the result, as plain JSON values.

        Usual clients, no disk, and no age go unsaid.
        """
        disk: dict[str, Any] = {}
        if self.disk is not None:
            disk = {"disk": _flat(self.disk), "disk_digest": digest_of_disk(self.disk)}
        return {
            "model": MODEL_VERSION,
            "algorithm": self.algorithm.name,
            "algorithm_args": self.algorithm_args,
            "algorithm_digest": self.algorithm.digest,
            "workload": self.workload.name,
            "workload_args": self.workload_args,
            "workload_digest": digest_of(self.workload, self.workload_args),
            "content": _content(self.content),
            "link": self.link_name,
            "link_args": self.link_args,
            "link_digest": digest_of(find("link", self.link_name), self.link_args),
            "vm": _flat(self.vm),
            **({} if self.clients == Clients() else {"clients": self.clients.as_dict()}),
            "codec_costs_digest": digest_of_costs(self.vm.codec_costs),
            "seed": self.seed,
            **({"age": self.age} if self.age else {}),
            "limit_seconds": self.limits.seconds,
            "limit_acts": self.limits.acts,
            **disk,
        }

    @property
    def text(self) -> str:
        """The canonical JSON: sorted keys, no spaces, infinity as text."""
        return canonical_json(self.describe())

    @property
    def key(self) -> str:
        """The SHA-256 of `text`."""
        return key_of(self.describe())


def key_of(described: Mapping[str, Any]) -> str:
    """Return the key of what `ResolvedTask.describe` returned."""
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()


def _flat(value: VirtualMachine | ContentRule | Disk) -> dict[str, Scalar]:
    """Return the fields of a flat dataclass; `dataclasses.asdict` would copy each."""
    names = _NAMES[type(value)]
    return {name: getattr(value, name) for name in names}


_NAMES = {
    kind: tuple(item.name for item in dataclasses.fields(kind))
    for kind in (VirtualMachine, ContentRule, Disk)
}


def _content(rule: ContentRule) -> dict[str, Scalar]:
    """Return the rule of the content of pages; of an image only where there is one."""
    fields = _flat(rule)
    return fields if rule.image else {k: v for k, v in fields.items() if k[:5] != "image"}


def with_content(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Return a workload's parameters with those of the content of pages, which all have."""
    own = {parameter.name for parameter in parameters}
    common = read_parameters(ContentRule, skip=0)
    return parameters + tuple(parameter for parameter in common if parameter.name not in own)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, infinities as text.

    >>> canonical_json({"b": 1.0, "a": [float("inf"), None]})
    '{"a":["inf",null],"b":1.0}'
    """
    try:
        return _json(value)
    except (TypeError, ValueError):  # infinities are rare, and looking for them takes long
        return _json(_finite(value))


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _json(value: Any) -> str:
    return _ENCODER.encode(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
