"""Scenarios: what to migrate and how, as TOML that is checked before anything starts.

A scenario reads like this; every key but ``memory`` may be left out::

    memory = "512MiB"
    [workload]
    kind = "uniform"
    working_set = "64MiB"
    rate = 2000
    [parameters]
    max-bandwidth = 40000000
    downtime-limit = 300
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from migsim.errors import InputError, did_you_mean
from migsim.hypervisor.runs import GuestLoad, MigrationPath
from migsim.units import MIB, Dimension, parse

__all__ = ["FILL", "Scenario", "find_scenario", "read_scenario", "read_scenarios"]

PACKAGED = Path(__file__).parent.parent / "data" / "qemu-scenarios"

FILL = 64 * MIB
"""Random words besides the working set, which the guest never touches again."""

_KERNEL = 96 * MIB  # what the guest's kernel and init need at least, and some room

_LEAST_BUFFER = 4096  # bytes; Linux's own smallest, and room for two packets in a queue

_CAPABILITIES = {
    "auto-converge", "dirty-bitmaps", "dirty-limit", "events", "late-block-activate", "multifd",
    "pause-before-switchover", "postcopy-blocktime", "postcopy-preempt", "postcopy-ram",
    "release-ram", "return-path", "switchover-ack", "validate-uuid", "x-ignore-shared", "xbzrle",
    "zero-copy-send",
}  # fmt: skip

_PARAMETERS: dict[str, type] = {
    "announce-initial": int, "announce-max": int, "announce-rounds": int, "announce-step": int,
    "avail-switchover-bandwidth": int, "cpu-throttle-increment": int, "cpu-throttle-initial": int,
    "cpu-throttle-tailslow": bool, "downtime-limit": int, "max-bandwidth": int,
    "max-cpu-throttle": int, "max-postcopy-bandwidth": int, "multifd-channels": int,
    "multifd-compression": str, "multifd-zlib-level": int, "multifd-zstd-level": int,
    "throttle-trigger-threshold": int, "vcpu-dirty-limit": int, "x-vcpu-dirty-limit-period": int,
    "xbzrle-cache-size": int, "zero-page-detection": str,
}  # fmt: skip

_WORDS = {int: "a whole number in QEMU's unit", bool: "true or false", str: "a text"}


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One migration to run.

    Attributes:
        name: what its recorded runs are called; the file's name where none is given.
        memory: bytes, ``-m`` of QEMU; what QEMU migrates is half a MiB of firmware more.
        workload, link, capabilities, parameters, postcopy_after_seconds, postcopy_after_rounds:
            as in `migsim.hypervisor.runs.RecordedRun`.
        time_limit_seconds: when the migration is cancelled; post-copy cannot be, and has failed.
        warm_up_seconds: how long the guest runs before it migrates.
        accel: ``kvm``, ``tcg`` (QEMU's emulator), or ``auto``: KVM where it runs a guest.
    """

    name: str
    memory: int
    vcpus: int = 1
    workload: GuestLoad = GuestLoad(kind="idle")
    link: MigrationPath = MigrationPath()
    capabilities: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}  # msgspec copies it
    postcopy_after_seconds: float | None = None
    postcopy_after_rounds: int | None = None
    time_limit_seconds: float = 120.0
    warm_up_seconds: float = 5.0
    accel: Literal["auto", "tcg", "kvm"] = "auto"


_QUANTITIES: dict[str, Dimension] = {
    "memory": "size",
    "postcopy_after_seconds": "time",
    "time_limit_seconds": "time",
    "warm_up_seconds": "time",
    "workload.working_set": "size",
    "workload.write_bytes": "size",
    "workload.hot_fraction": "fraction",
    "workload.hot_probability": "fraction",
    "link.rate": "byte rate",
    "link.rtt": "time",
    "link.loss": "fraction",
    "link.queue": "size",
    "link.send_buffer": "size",
    "link.receive_buffer": "size",
}

_NUMBERS = (*_QUANTITIES, "workload.rate")


def read_scenario(path: Path) -> Scenario:
    """Return the scenario of a TOML file. Raises `InputError` that names file and key.

    Sizes, times and rates may be texts with units, such as ``"64MiB"``; plain numbers are bytes,
    seconds and, for a link, bits per second. QEMU's parameters are in QEMU's units.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is no TOML: {error}") from None
    table.setdefault("name", path.stem)
    if "link" in table and isinstance(table["link"], dict):
        table["link"].setdefault("kind", "emulated")
    for key, dimension in _QUANTITIES.items():
        _resolve(path, table, key, dimension)
    _refuse_unknown(path, "", table, Scenario)
    for key, kind in (("workload", GuestLoad), ("link", MigrationPath)):
        if isinstance(table.get(key), dict):
            _refuse_unknown(path, f"{key}.", table[key], kind)
    try:
        scenario = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        key = place.strip(".`") or "the file"
        raise InputError(f"{path}, {key}: {reason[:1].lower()}{reason[1:]}") from None
    _check(path, scenario)
    return scenario


def read_scenarios(paths: list[Path]) -> list[Scenario]:
    """Return the scenarios of files and of all ``*.toml`` in folders, each name once."""
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.toml")) if path.is_dir() else [find_scenario(path)]
        if not found:
            raise InputError(f"{path}: holds no scenario, expected files *.toml")
        files += found
    known: dict[str, Path] = {}
    scenarios = []
    for file in files:
        scenario = read_scenario(file)
        if scenario.name in known:
            raise InputError(
                f"{file}, name: '{scenario.name}' is also {known[scenario.name]}, "
                "expected another name"
            )
        known[scenario.name] = file
        scenarios.append(scenario)
    return scenarios


def find_scenario(path: Path) -> Path:
    """Return the file, or the scenario of that name that comes with migsim."""
    packaged = PACKAGED / f"{path}.toml"
    if path.exists() or path.suffix == ".toml":
        return path
    if packaged.is_file():
        return packaged
    known = [file.stem for file in PACKAGED.glob("*.toml")]
    raise InputError(f"{path}: no such file or scenario, {did_you_mean(str(path), known)}")


def _resolve(path: Path, table: dict[str, Any], key: str, dimension: Dimension) -> None:
    """Turn a text with a unit into its value, in place."""
    section, _, name = key.rpartition(".")
    holder = table.get(section) if section else table
    if not isinstance(holder, dict) or not isinstance(holder.get(name), str):
        return
    try:
        value = parse(holder[name], dimension)
    except InputError as error:
        raise InputError(f"{path}, {key}: {error}") from None
    holder[name] = value * 8 if dimension == "byte rate" else value


def _refuse_unknown(path: Path, prefix: str, table: dict[str, Any], kind: type) -> None:
    known = kind.__struct_fields__  # type: ignore[attr-defined]
    for key in table:
        if key not in known:
            raise InputError(f"{path}, {prefix}{key}: is unknown, {did_you_mean(key, known)}")


def _value(scenario: Scenario, key: str) -> Any:
    value: Any = scenario
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _is_finite(scenario: Scenario, key: str) -> bool:
    value = _value(scenario, key)
    return not isinstance(value, float) or math.isfinite(value)


def _check(path: Path, scenario: Scenario) -> None:
    """Raise `InputError` for the first rule that the scenario breaks."""
    load, link = scenario.workload, scenario.link
    need, pages = load.working_set + FILL + _KERNEL, load.working_set / 4096
    rules = [
        ("name", scenario.name.isprintable() and scenario.name.strip() != "", "a name"),
        *((key, _is_finite(scenario, key), "a finite number") for key in _NUMBERS),
        ("memory", scenario.memory % MIB == 0, "whole MiB"),
        ("memory", scenario.memory >= need, f"{need // MIB} MiB or more for this working set"),
        ("vcpus", 1 <= scenario.vcpus <= 64, "from 1 to 64"),
        ("workload.working_set", load.working_set >= MIB, "1 MiB or more"),
        ("workload.working_set", load.working_set % MIB == 0, "whole MiB"),
        ("workload.rate", (load.rate > 0) == (load.kind != "idle"), "writes per second, 0 if idle"),
        ("workload.write_bytes", 8 <= load.write_bytes <= 4096, "from 8 to 4096"),
        ("workload.write_bytes", load.write_bytes % 8 == 0, "whole words of 8 bytes"),
        ("workload.hot_fraction", load.kind != "hotcold"
         or 1 <= load.hot_fraction * pages <= pages - 1, "between 0 and 1, whole pages"),
        ("workload.hot_probability", 0 <= load.hot_probability <= 1, "from 0 to 1"),
        ("link.kind", link.kind == "emulated" or link == MigrationPath(),
         "'emulated' where other keys say how it is"),
        ("link.rate", link.kind == "loopback" or link.rate > 0, "bits per second"),
        ("link.rtt", link.rtt >= 0, "seconds"),
        ("link.loss", 0 <= link.loss < 1, "from 0 to 1"),
        ("link.queue", link.queue is None or (isinstance(link.queue, int)
         and link.queue >= _LEAST_BUFFER), "4096 bytes or more"),
        ("link.send_buffer", link.send_buffer >= _LEAST_BUFFER, "4096 bytes or more"),
        ("link.receive_buffer", link.receive_buffer >= _LEAST_BUFFER, "4096 bytes or more"),
        ("postcopy_after_rounds", scenario.postcopy_after_rounds is None
         or scenario.postcopy_after_seconds is None, "either seconds or rounds"),
        ("postcopy_after_rounds", (scenario.postcopy_after_rounds or 0) >= 0, "0 or more"),
        ("postcopy_after_seconds", (scenario.postcopy_after_seconds or 0) >= 0, "0 or more"),
        ("capabilities", "postcopy-ram" in scenario.capabilities
         or (scenario.postcopy_after_rounds is None and scenario.postcopy_after_seconds is None),
         "'postcopy-ram' among them where post-copy is to start"),
        ("time_limit_seconds", scenario.time_limit_seconds > 0, "more than 0"),
        ("warm_up_seconds", scenario.warm_up_seconds >= 0, "0 or more"),
    ]  # fmt: skip
    for key, holds, expected in rules:
        if not holds:
            raise InputError(f"{path}, {key}: got {_value(scenario, key)!r}, expected {expected}")
    for name in scenario.capabilities:
        if name not in _CAPABILITIES:
            raise InputError(
                f"{path}, capabilities: '{name}' is none of QEMU's, "
                f"{did_you_mean(name, _CAPABILITIES)}"
            )
    for name, value in scenario.parameters.items():
        if name not in _PARAMETERS:
            raise InputError(
                f"{path}, parameters.{name}: is none of QEMU's, {did_you_mean(name, _PARAMETERS)}"
            )
        if type(value) is not _PARAMETERS[name]:
            raise InputError(
                f"{path}, parameters.{name}: got {value!r}, expected {_WORDS[_PARAMETERS[name]]}"
            )
