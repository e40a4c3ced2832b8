"""A fleet as plain values and as a digest: what a result or an audit log says it is about."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from migsim.fleet.model import Balance, Evacuate, Fleet, Move
from migsim.task import canonical_json

__all__ = ["describe", "digest"]

_JOBS = {Evacuate: "evacuate", Balance: "balance", Move: "move"}


def describe(fleet: Fleet) -> dict[str, Any]:
    """Return all of a fleet as values of JSON, defaults filled in, units and counts resolved."""
    described: dict[str, Any] = _plain(fleet)
    for job, values in zip(fleet.jobs, described["jobs"], strict=True):
        values["job"] = _JOBS[type(job)]
    return described


def digest(fleet: Fleet) -> str:
    """Return the SHA-256 of the canonical JSON of `describe`, in hexadecimal."""
    return hashlib.sha256(canonical_json(describe(fleet)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {item.name: _plain(getattr(value, item.name)) for item in fields}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
