"""Whether migsim can simulate what a fleet's file names: algorithms, guests, connections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from migsim.build import build_vm
from migsim.errors import InputError
from migsim.fleet.lines import Place
from migsim.fleet.mistakes import Mistakes
from migsim.fleet.model import Migrating, Vm
from migsim.fleet.tables import read_arguments
from migsim.machine import VirtualMachine
from migsim.network import Link
from migsim.parameters import Context, read_parameters
from migsim.registry import Plugin, find
from migsim.task import Task, with_content

__all__ = ["Guests", "check_algorithm", "check_connection"]

_OF_THE_MACHINE = {"memory", "vcpus"}
_OF_THE_HOSTS = {"shared"}
_OF_THE_PATH = {"rate", "rtt", "loss", "outages"}
# Algorithms and links come before any machine; what is relative to one has its unit checked only.
_ANY_GUEST = Context(page_size=4096, memory=2**30)
_ANY_PATH = {"rate": "1Gbit/s", "rtt": "200us"}


def check_algorithm(name: str, given: Mapping[str, Any], place: Place, mistakes: Mistakes) -> None:
    """Note what is wrong with an algorithm and its parameters, at the table that names them."""
    plugin = _find("algorithm", name, (*place, "algorithm"), mistakes)
    if plugin is not None:
        place = (*place, "algorithm_args")
        read_arguments(plugin.parameters, given, _ANY_GUEST, place, mistakes)


def check_connection(migrating: Migrating, place: Place, mistakes: Mistakes) -> None:
    """Note what is wrong with the parameters of the migrations' connections."""
    place = (*place, "link_args")
    before = len(mistakes)
    given = _without(
        migrating.link_args, _OF_THE_PATH, place, "networks, trunks and failures", mistakes
    )
    parameters = tuple(
        parameter
        for parameter in read_parameters(Link, skip=0)
        if parameter.name not in _OF_THE_PATH
    )
    read_arguments(parameters, given, Context(), place, mistakes)
    if len(mistakes) == before:
        _try_task(Task(
            algorithm="stop_and_copy", workload="idle", link="custom",
            link_args={**_ANY_PATH, **given},
        ), place, mistakes)  # fmt: skip


class Guests:
    """Checks machines; equal ones once, as making a workload may read a recording."""

    def __init__(self, algorithm: str | None, mistakes: Mistakes) -> None:
        """Take the fleet's algorithm, None where it is a mistake itself."""
        self._algorithm = algorithm
        self._mistakes = mistakes
        self._known: set[str] = set()

    def check(self, vm: Vm, place: Place) -> None:
        """Note what is wrong with a machine's shape, its workload, and its way to migrate."""
        algorithm = vm.algorithm or self._algorithm
        if vm.algorithm is not None or (vm.algorithm_args and algorithm):
            check_algorithm(str(algorithm), vm.algorithm_args, place, self._mistakes)
        shape = {"memory": vm.memory, "vcpus": vm.vcpus}
        key = repr([
            shape, vm.vm_args, vm.workload, vm.workload_args, vm.disk_args, vm.client_args, vm.seed,
        ])  # fmt: skip
        before = len(self._mistakes)
        if key not in self._known:
            self._check(vm, shape, place)
        if len(self._mistakes) == before:
            self._known.add(key)

    def _check(self, vm: Vm, shape: dict[str, Any], place: Place) -> None:
        before = len(self._mistakes)
        inner = (*place, "vm_args")
        given = _without(vm.vm_args, _OF_THE_MACHINE, inner, "the machine itself", self._mistakes)
        parameters = tuple(
            parameter
            for parameter in read_parameters(VirtualMachine, skip=0)
            if parameter.name not in _OF_THE_MACHINE
        )
        read_arguments(parameters, given, Context(), inner, self._mistakes)
        plugin = _find("workload", vm.workload, (*place, "workload"), self._mistakes)
        if len(self._mistakes) > before or plugin is None:
            return
        try:
            machine = build_vm({**shape, **given})
        except InputError as error:
            self._mistakes.note(place, str(error))
            return
        read_arguments(
            with_content(plugin.parameters), vm.workload_args,
            Context(machine.page_size, machine.memory), (*place, "workload_args"), self._mistakes,
        )  # fmt: skip
        owner = "the machine's datastore and what its hosts store"
        _without(vm.disk_args, _OF_THE_HOSTS, (*place, "disk_args"), owner, self._mistakes)
        task = Task(
            algorithm="stop_and_copy", workload=vm.workload, workload_args=vm.workload_args,
            vm_args={**shape, **given}, seed=vm.seed,
        )  # fmt: skip
        with_clients = dataclasses.replace(task, client_args=vm.client_args)
        with_disk = dataclasses.replace(task, disk_args=vm.disk_args)
        for key, tried, is_new in (
            ("workload", task, True),
            ("client_args", with_clients, bool(vm.client_args)),
            ("disk_args", with_disk, bool(vm.disk_args)),
        ):
            if is_new and len(self._mistakes) == before:
                _try_task(tried, (*place, key), self._mistakes)


def _find(kind: Literal["algorithm", "workload"], name: str, place: Place,
          mistakes: Mistakes) -> Plugin | None:  # fmt: skip
    try:
        return find(kind, name)
    except InputError as error:
        mistakes.note(place, str(error))
        return None


def _without(
    given: Mapping[str, Any], names: set[str], place: Place, owner: str, mistakes: Mistakes
) -> dict[str, Any]:
    """Return parameters without those that are said elsewhere, which are mistakes."""
    for name in names & set(given):
        mistakes.note((*place, name), f"is said by {owner}, expected no '{name}' here")
    return {name: value for name, value in given.items() if name not in names}


def _try_task(task: Task, place: Place, mistakes: Mistakes) -> None:
    """Note where things do not go together that are right one by one."""
    try:
        task.resolve().make_workload()
    except InputError as error:
        mistakes.note(place, str(error))
