"""Whether what a fleet's file asks for can be: rooms, rules, ways and windows.

Only what no order of events can cure is a mistake. What merely may go wrong while a fleet runs is
not: that is what running it shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from migsim.errors import did_you_mean
from migsim.fleet.lines import Place
from migsim.fleet.mistakes import Mistakes
from migsim.fleet.model import Balance, Evacuate, Fleet, Job, Move, Vm
from migsim.fleet.rules import Bundles, check_rules
from migsim.fleet.topology import reachable
from migsim.units import format_size

__all__ = ["check_possible"]


@dataclass(frozen=True)
class _Whole:
    """A fleet whose tables are right, and where its parts stand in the file."""

    fleet: Fleet
    hosts: Mapping[str, Place]
    vms: Mapping[str, Place]
    jobs: Sequence[Place]
    mistakes: Mistakes
    bundles: Bundles


def check_possible(
    fleet: Fleet,
    hosts: Mapping[str, Place],
    vms: Mapping[str, Place],
    jobs: Sequence[Place],
    mistakes: Mistakes,
) -> None:
    """Note what cannot be; places say where hosts, machines and jobs stand."""
    before = len(mistakes)
    bundles = check_rules(fleet, vms, mistakes)
    _check_rooms(fleet, hosts, mistakes)
    _check_storage(fleet, vms, mistakes)
    if len(mistakes) > before:
        return  # where machines can go is known only if all rules and rooms are right
    whole = _Whole(fleet, hosts, vms, jobs, mistakes, bundles)
    for job, place in zip(fleet.jobs, jobs, strict=True):
        if isinstance(job, Evacuate):
            _check_evacuation(whole, job, place)
        elif isinstance(job, Move):
            _check_move(whole, job, place)
    _check_moves_in_turn(whole)


def _check_rooms(fleet: Fleet, places: Mapping[str, Place], mistakes: Mistakes) -> None:
    """Note the hosts whose machines need more memory than there is in the beginning."""
    used = dict.fromkeys(fleet.hosts, 0)
    for vm in fleet.vms.values():
        used[vm.host] += vm.memory
    for name, host in fleet.hosts.items():
        if used[name] > host.memory:
            mistakes.note(
                (*places[name], "memory"),
                f"the machines on '{name}' need {format_size(used[name])} in the beginning, "
                f"expected at most the {format_size(host.memory)} that it has",
            )


def _check_storage(fleet: Fleet, places: Mapping[str, Place], mistakes: Mistakes) -> None:
    """Note the machines whose host does not reach their disk."""
    for vm in fleet.vms.values():
        known = fleet.hosts[vm.host].storage
        if vm.datastore is not None and vm.datastore not in known:
            mistakes.note(
                (*places[vm.name], "datastore"),
                f"'{vm.host}' does not reach '{vm.datastore}', {did_you_mean(vm.datastore, known)}",
            )


def _why_not(whole: _Whole, vm: Vm, host: str) -> str | None:
    """Return what keeps a machine from ever going to a host, None where nothing does."""
    fleet = whole.fleet
    here, there = fleet.hosts[vm.host].network, fleet.hosts[host].network
    if there not in reachable(fleet, here):
        return f"no trunks join the networks '{here}' and '{there}'"
    rule = whole.bundles.forbidding(vm.name, host)
    if rule is not None:
        return f"the rule '{rule}' keeps it away"
    room = fleet.hosts[host].memory
    if vm.memory > room:
        return f"it needs {format_size(vm.memory)} and the host has {format_size(room)}"
    return None


def _check_evacuation(whole: _Whole, job: Evacuate, place: Place) -> None:
    fleet, mistakes = whole.fleet, whole.mistakes
    if job.deadline <= job.at:
        mistakes.note(
            (*place, "deadline"),
            f"got {job.deadline:g} s, expected more than the {job.at:g} s at which it starts",
        )
    if job.host in job.to:
        mistakes.note((*place, "to"), f"names '{job.host}' itself, expected other hosts")
        return
    targets = job.to or tuple(name for name in fleet.hosts if name != job.host)
    moved = {other.vm for other in fleet.jobs if isinstance(other, Move)}
    lost = [
        (vm, reasons)
        for vm in fleet.vms.values()
        if vm.host == job.host and vm.name not in moved
        and (reasons := [_why_not(whole, vm, host) for host in targets]) and all(reasons)
    ]  # fmt: skip
    if not targets:
        mistakes.note(place, f"there is no host but '{job.host}', expected one to go to")
    if lost:
        vm, reasons = lost[0]
        others = f" and {len(lost) - 1} other machines" if len(lost) > 1 else ""
        mistakes.note(
            place, f"'{vm.name}'{others} can go to no host: to '{targets[0]}', {reasons[0]}"
        )
    need = sum(vm.memory for vm in fleet.vms.values())
    room = sum(host.memory for name, host in fleet.hosts.items() if name != job.host)
    if targets and need > room:
        mistakes.note(
            place,
            f"all machines need {format_size(need)}, expected at most the {format_size(room)} "
            f"that the hosts other than '{job.host}' have",
        )


def _check_move(whole: _Whole, job: Move, place: Place) -> None:
    if job.until < job.at:
        whole.mistakes.note(
            (*place, "until"),
            f"the window ends at {job.until:g} s, expected no earlier than it begins, {job.at:g} s",
        )
    reason = _why_not(whole, whole.fleet.vms[job.vm], job.to)
    if reason is not None:
        whole.mistakes.note((*place, "to"), f"'{job.vm}' cannot go to '{job.to}': {reason}")


def _check_moves_in_turn(whole: _Whole) -> None:
    """Note the moves of machines to where they are, as far as only moves came before them."""
    jobs = list(zip(whole.fleet.jobs, whole.jobs, strict=True))
    others = [job.at for job, _ in jobs if isinstance(job, Evacuate | Balance)]
    certain = min(others, default=math.inf)
    hosts = {vm.name: vm.host for vm in whole.fleet.vms.values()}
    for job, place in _in_turn(jobs):
        if job.at >= certain:
            return
        if hosts[job.vm] == job.to:
            whole.mistakes.note(
                (*place, "to"), f"'{job.vm}' is on '{job.to}' already, expected another host"
            )
        hosts[job.vm] = job.to


def _in_turn(jobs: Iterable[tuple[Job, Place]]) -> list[tuple[Move, Place]]:
    moves = [(job, place) for job, place in jobs if isinstance(job, Move)]
    return sorted(moves, key=lambda entry: entry[0].at)
