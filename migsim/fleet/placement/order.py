"""An order in which machines move such that every constraint holds at every moment.

A machine that migrates holds its memory at both hosts until it has arrived, and counts at both for
what is kept apart. Moves that can run side by side form a wave; the next wave starts when all of
the one before have arrived. Where the moves left wait for one another's memory, a machine steps
aside to a third host first; where none can, those moves are given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from migsim.errors import InputError
from migsim.fleet.placement.model import Ints, Items, Problem, compile_problem

__all__ = ["Order", "Step", "sequence"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One migration.

    Attributes:
        vm: which machine.
        source, destination: from and to which host.
        wave: steps of a wave may run at once, after all of the waves before.
        aside: whether it goes to a host where it will not stay, to make room.
    """

    vm: str
    source: str
    destination: str
    wave: int
    aside: bool = False


@dataclass(frozen=True, kw_only=True)
class Order:
    """All steps in order, and which machines stay because no order moves them.

    Attributes:
        steps: in order; those of one machine follow one another.
        given_up: machines that are not where the placement wants them, in the problem's order.
    """

    steps: tuple[Step, ...]
    given_up: tuple[str, ...]


def sequence(problem: Problem, hosts: Mapping[str, str]) -> Order:
    """Return an order of steps from the present placement to that of `Placement.hosts`.

    Machines that are kept together move in one wave; what is broken at present (a host too full, a
    rule) is not made worse on the way.

    Raises:
        InputError: a machine without a host, or one on a host that there is not.
    """
    names = [host.name for host in problem.hosts]
    for vm in problem.vms:
        if hosts.get(vm.name) not in names:
            raise InputError(
                f"sequence: machine {vm.name!r} is to run on {hosts.get(vm.name)!r}, expected one "
                f"of the {len(names)} hosts"
            )
    if not problem.vms:
        return Order(steps=(), given_up=())
    at = {name: index for index, name in enumerate(names)}
    target = np.array([at[hosts[vm.name]] for vm in problem.vms], np.int64)
    walk = _Walk(problem, compile_problem(problem), target)
    walk.go()
    left = tuple(
        vm.name
        for vm, now, goal in zip(problem.vms, walk.place, target, strict=True)
        if now != goal
    )
    return Order(steps=tuple(walk.steps), given_up=left)


class _Walk:
    """Where machines are on the way, and what hosts hold, wave by wave."""

    def __init__(self, problem: Problem, items: Items, target: Ints) -> None:
        self.items, self.target = items, target
        self.vms = problem.vms
        self.names = [host.name for host in problem.hosts]
        at = {name: index for index, name in enumerate(self.names)}
        self.place = np.array([at[vm.host] for vm in problem.vms], np.int64)
        self.memory = np.array([vm.memory for vm in problem.vms], float)
        self.cpu = np.array([vm.cpu for vm in problem.vms], float)
        self.steps: list[Step] = []
        self.wave = 0
        self.goal = {
            index: int(target[members[0]])
            for index, members in enumerate(items.members)
            if np.any(self.place[list(members)] != target[list(members)])
        }
        self.spare = items.most_moves - int(np.sum(self.place != target))
        self._count()

    def _count(self) -> None:
        """Work out what hosts hold when nothing is on its way."""
        hosts = len(self.names)
        self.used = np.bincount(self.place, self.memory, hosts)
        self.load = np.bincount(self.place, self.cpu, hosts)
        self.kept = np.zeros((len(self.items.groups), hosts), np.int64)
        for index, group in enumerate(self.items.groups):
            for item in group.items:
                self.kept[
                    index, sorted({int(self.place[vm]) for vm in self.items.members[item]})
                ] += 1

    def go(self) -> None:
        """Move all that can be moved."""
        aside: set[int] = set()
        while self.goal:
            ready = [item for item in self.goal if self._start(item, self.goal[item])]
            if not ready:
                step = self._step_aside(aside)
                if step is None:
                    return
                aside.add(step)
            for item in ready:
                del self.goal[item]
            self.wave += 1
            self._count()

    def _coming(self, item: int, host: int) -> list[int]:
        return [vm for vm in self.items.members[item] if self.place[vm] != host]

    def _fits(self, item: int, host: int) -> bool:
        """Return whether an item may come to a host now, with all that is still on its way."""
        items, coming = self.items, self._coming(item, host)
        if not items.allowed[item, host]:
            return False
        if self.used[host] + self.memory[coming].sum() > items.room[host]:
            return False
        # Work that has left weighs on the source no longer: a machine runs on one host at a time.
        if self.load[host] + self.cpu[coming].sum() > items.most_cpu[host]:
            return False
        partly = len(coming) < len(items.members[item])
        return not any(
            item in group.items and self.kept[index, host] > partly
            for index, group in enumerate(items.groups)
        )

    def _start(self, item: int, host: int, *, aside: bool = False) -> bool:
        """Let an item come to a host in this wave, if it fits."""
        if not self._fits(item, host):
            return False
        coming = self._coming(item, host)
        for vm in coming:
            source = self.names[int(self.place[vm])]
            self.steps.append(
                Step(
                    vm=self.vms[vm].name,
                    source=source,
                    destination=self.names[host],
                    wave=self.wave,
                    aside=aside,
                )
            )
            self.used[host] += self.memory[vm]
            self.load[host] += self.cpu[vm]
            self.place[vm] = host
        for index, group in enumerate(self.items.groups):
            if item in group.items:
                self.kept[index, host] += 1
        return True

    def _step_aside(self, done: set[int]) -> int | None:
        """Move the item aside whose migration costs the least; first, one that lets another go."""
        extra = {item: len(self.items.members[item]) for item in self.goal}
        able = [
            (not self._frees(item), float(self.items.cost[item, host]), item, host)
            for item in self.goal
            if item not in done and extra[item] <= self.spare
            for host in range(len(self.names))
            if host != self.goal[item] and self._fits(item, host)
            if np.all(self.place[list(self.items.members[item])] != host)
        ]
        if not able:
            return None
        _, _, item, host = min(able)
        self.spare -= extra[item]
        self._start(item, host, aside=True)
        return item

    def _frees(self, item: int) -> bool:
        """Return whether another item could start if this one were gone."""
        members = list(self.items.members[item])
        sources = self.place[members]
        np.subtract.at(self.used, sources, self.memory[members])
        np.subtract.at(self.load, sources, self.cpu[members])
        mine = [index for index, group in enumerate(self.items.groups) if item in group.items]
        where = sorted(set(sources.tolist()))
        self.kept[np.ix_(mine, where)] -= 1
        free = any(self._fits(other, host) for other, host in self.goal.items() if other != item)
        self._count()
        return free
