"""Migrates a real guest: two QEMUs, one scenario, one recorded run."""

from __future__ import annotations

import datetime
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from migsim.errors import InputError
from migsim.hypervisor.guest import Kit
from migsim.hypervisor.links import Ends, emulated
from migsim.hypervisor.qemu import Accel, Machine, Program, machine
from migsim.hypervisor.qmp import Qmp, QmpError
from migsim.hypervisor.runs import Measured, RecordedRun
from migsim.hypervisor.scenario import Scenario

__all__ = ["Tools", "run"]

_POLL = 0.02
_BOOT_PATIENCE = 120.0
_CANCEL_PATIENCE = 30.0
_SETTLE = 1.0  # until all counters are final: QEMU reports completion a little before
_RESUME_PATIENCE = 20.0  # what lies in buffers on a slow link arrives after the source is done
_AFTERWARDS = 4.0  # so that the guest's log has lines from the destination
_ENDED = {"completed", "failed", "cancelled"}

_LOCAL = Ends((), (), "127.0.0.1", "loopback")


class Tools(NamedTuple):
    """What runs a scenario."""

    program: Program
    kit: Kit
    accel: Accel


class _Course(NamedTuple):
    """What was seen while it migrated: the last answer with counters, and the end."""

    status: str
    counters: dict[str, Any]
    throttle: int | None
    postcopy_started: float | None


def run(
    scenario: Scenario,
    tools: Tools,
    *,
    repeat: int = 0,
    collection: str = "",
    tell: Callable[[str], None] = lambda stage: None,
) -> RecordedRun:
    """Return the recorded run of a scenario; ``tell`` hears which stage it is in.

    Raises `InputError` where QEMU refuses what the scenario asks for, `RuntimeError` where the
    guest or a QEMU dies.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsim-")))
        ends = _LOCAL
        if scenario.link.kind == "emulated":
            ends = stack.enter_context(
                emulated(scenario.link, tools.kit.relay, folder, seed=repeat + 1)
            )
        tell("boots")
        common = (tools.program, tools.accel, tools.kit, scenario, folder)
        source = stack.enter_context(machine(*common, "source", ends.source))
        target = stack.enter_context(machine(*common, "target", ends.destination, incoming=True))
        source.wait_until_ready(_BOOT_PATIENCE)
        tell("warms up")
        time.sleep(scenario.warm_up_seconds)
        _configure(scenario, source.qmp, target.qmp)
        tell("migrates")
        try:
            course = _migrate(scenario, source.qmp, _listen(target.qmp, ends.address))
        except QmpError as error:
            raise RuntimeError(f"{error}{_last_words(source, target)}") from None
        tell("runs on")
        time.sleep(_SETTLE)
        measured = _measure(source, target, course)
        log = _guest_log(source, target)
        return RecordedRun(
            name=scenario.name,
            set=collection,
            repeat=repeat,
            hypervisor=f"qemu {tools.program.version} {tools.accel}",
            memory=course.counters["ram"]["total"],
            vcpus=scenario.vcpus,
            zero_pages=course.counters["ram"]["duplicate"],
            workload=scenario.workload,
            link=scenario.link,
            capabilities=scenario.capabilities,
            parameters=scenario.parameters,
            postcopy_after_seconds=scenario.postcopy_after_seconds,
            postcopy_after_rounds=scenario.postcopy_after_rounds,
            warm_up_seconds=scenario.warm_up_seconds,
            time_limit_seconds=scenario.time_limit_seconds,
            measured=measured,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            versions=_versions(tools, ends),
            guest_log=log,
        )


def _listen(qmp: Qmp, host: str) -> str:
    """Let the destination listen; return where, at a port that its kernel has picked."""
    qmp.command("migrate-incoming", uri=f"tcp:{host}:0")
    (place,) = qmp.command("query-migrate")["socket-address"]
    return f"tcp:{place['host']}:{place['port']}"


def _configure(scenario: Scenario, *monitors: Qmp) -> None:
    states = [{"capability": name, "state": True} for name in (*scenario.capabilities, "events")]
    try:
        for qmp in monitors:
            qmp.command("migrate-set-capabilities", capabilities=states)
            if scenario.parameters:
                qmp.execute("migrate-set-parameters", scenario.parameters)
    except QmpError as error:
        raise InputError(f"scenario '{scenario.name}': QEMU refuses {error}") from None


def _migrate(scenario: Scenario, qmp: Qmp, address: str) -> _Course:
    """Start the migration and watch it to its end."""
    counters: dict[str, Any] = {}
    throttle: int | None = None
    switched: float | None = None
    cancelled: float | None = None
    start = time.monotonic()
    qmp.command("migrate", uri=address)
    while True:
        answer = qmp.command("query-migrate")
        elapsed, status = time.monotonic() - start, answer["status"]
        if "ram" in answer and cancelled is None:
            counters = answer
        if "cpu-throttle-percentage" in answer:
            throttle = max(throttle or 0, answer["cpu-throttle-percentage"])
        if status in _ENDED:
            verdict = _verdict(status, cancelled, answer)
            if not counters:
                raise RuntimeError(
                    f"the migration was {verdict} before QEMU had counted anything, "
                    f"expected a time_limit_seconds above {scenario.time_limit_seconds:g}"
                )
            return _Course(verdict, counters, throttle, switched)
        if switched is None and status == "active" and _is_due(scenario, elapsed, answer):
            qmp.command("migrate-start-postcopy")
            switched = round(time.monotonic() - start, 3)
        if cancelled is None and elapsed > scenario.time_limit_seconds:
            if status.startswith("postcopy"):
                raise RuntimeError(
                    f"post-copy is not done after time_limit_seconds, "
                    f"{scenario.time_limit_seconds:g} s, and cannot be cancelled"
                )
            qmp.command("migrate_cancel")
            cancelled = elapsed
        if cancelled is not None and elapsed > cancelled + _CANCEL_PATIENCE:
            raise RuntimeError(f"the migration could not be cancelled, it is '{status}'")
        time.sleep(_POLL)


def _verdict(status: str, cancelled: float | None, answer: dict[str, Any]) -> str:
    if status == "failed" and cancelled is None:
        raise RuntimeError(f"the migration failed: {answer.get('error-desc', 'no reason given')}")
    return "cancelled" if status == "failed" else str(status)


def _is_due(scenario: Scenario, elapsed: float, answer: dict[str, Any]) -> bool:
    """Return whether post-copy is to start: after n rounds the log was read n + 1 times."""
    if scenario.postcopy_after_rounds is not None:
        syncs: int = answer.get("ram", {}).get("dirty-sync-count", 0)
        return syncs > scenario.postcopy_after_rounds
    after = scenario.postcopy_after_seconds
    return after is not None and elapsed >= after


def _measure(source: Machine, target: Machine, course: _Course) -> Measured:
    """Return what both sides report. Raises `RuntimeError` where the guest does not run on."""
    # A cancelled migration reports no counters any more: the last ones before stand for them.
    final = source.qmp.command("query-migrate")
    final = course.counters if "ram" not in final or course.status == "cancelled" else final
    other: dict[str, Any] = {}
    _wait_until_running((target if course.status == "completed" else source).qmp)
    if course.status == "completed":
        other = target.qmp.command("query-migrate")
    ram, xbzrle = final["ram"], final.get("xbzrle-cache")
    stopped, resumed = source.qmp.event_time("STOP"), target.qmp.event_time("RESUME")
    waits = other.get("postcopy-vcpu-blocktime")
    return Measured(
        status=course.status,
        total_seconds=final["total-time"] / 1000,
        downtime_seconds=_seconds(final.get("downtime")),
        setup_seconds=final.get("setup-time", 0) / 1000,
        transferred_bytes=ram["transferred"],
        precopy_bytes=ram.get("precopy-bytes", 0),
        downtime_bytes=ram.get("downtime-bytes", 0),
        postcopy_bytes=ram.get("postcopy-bytes", 0),
        normal_pages=ram["normal"],
        dirty_syncs=ram["dirty-sync-count"],
        postcopy_requests=ram.get("postcopy-requests"),
        xbzrle=None if xbzrle is None else {
            key: xbzrle[key] for key in ("pages", "bytes", "cache-miss", "overflow")
        },
        throttle_percent=course.throttle,
        multifd_bytes=ram.get("multifd-bytes") or None,
        remaining_bytes=ram["remaining"] if course.status == "cancelled" else None,
        dirty_pages_rate=ram.get("dirty-pages-rate"),
        mbps=ram.get("mbps"),
        visible_downtime_seconds=round(resumed - stopped, 6) if stopped and resumed else None,
        postcopy_started_seconds=course.postcopy_started,
        postcopy_blocktime_seconds=_seconds(other.get("postcopy-blocktime")),
        postcopy_vcpu_blocktime_seconds=None if waits is None else tuple(
            wait / 1000 for wait in waits
        ),
    )  # fmt: skip


def _wait_until_running(qmp: Qmp) -> None:
    deadline = time.monotonic() + _RESUME_PATIENCE
    while (state := qmp.command("query-status")["status"]) != "running":
        if time.monotonic() > deadline:
            raise RuntimeError(f"the guest is '{state}' after the migration, expected it to run")
        time.sleep(_POLL)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _guest_log(source: Machine, target: Machine) -> tuple[tuple[float, float], ...]:
    time.sleep(_AFTERWARDS)
    lines = re.findall(r"OPS ([0-9.]+) ([0-9]+)", source.printed() + target.printed())
    return tuple((float(seconds), float(writes)) for seconds, writes in lines)


def _versions(tools: Tools, ends: Ends) -> dict[str, str]:
    versions = {"guest_kernel": tools.kit.kernel_version, "guest": tools.kit.guest_version}
    return versions if ends == _LOCAL else versions | {"link": ends.via}


def _last_words(source: Machine, target: Machine) -> str:
    told = [
        text.strip()
        for end in (source, target)
        if (text := end.errors.read_text(encoding="utf-8", errors="replace"))
    ]
    return f" ({'; '.join(told)})" if told else ""
