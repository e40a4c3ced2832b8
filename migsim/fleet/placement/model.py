"""What a placement is made of, as arrays: items that move as one, hosts, and what a load costs.

Machines that a rule keeps together are one *item*. All costs are core-seconds that guests lose:

- **Contention.** A host whose guests ask for `L` cores on average is asked for `f L` at one of its
  levels `f`, all equally likely; what exceeds its cores is lost. Over a horizon of `T` seconds that
  is `T mean(max(0, f L - C))`: piecewise linear and convex in `L`, so it stays a linear program.
- **Unevenness.** A core by which a host's load exceeds that of an evenly loaded fleet by more than
  the tolerance counts as a small part of a core lost: headroom for what the averages do not tell.
  The same for memory, in cores of the host: half of the memory is half of the cores.
- **Migrations.** What the caller predicts that each guest loses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from migsim.errors import InputError, did_you_mean
from migsim.fleet.model import Host, Rule, Vm
from migsim.units import Seconds

__all__ = [
    "Bools",
    "Floats",
    "Group",
    "Ints",
    "Items",
    "Problem",
    "Term",
    "called",
    "compile_problem",
]

_ANY = 1 << 40  # moves: more than any fleet makes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Machines and hosts, what rules allow, and what it costs to move.

    Attributes:
        hosts: that take machines.
        vms: with the host on which each runs now.
        rules: that a placement must keep, even where they are broken now.
        costs: core-seconds that each guest loses if it migrates: one for each machine, or a row of
            one for each host where it depends on that (another site, another datastore).
        horizon: seconds for which the placement is expected to hold.
        most_moves: machines that may move at most; None for any number.
        most_cpu: share of its cores that guests may ask of a host on average; infinite where
            contention has its price but no limit.
        levels: of a host's demand relative to the average, equally likely.
        evenness: cores lost that a core of unevenness counts for.
        tolerance: share of the mean load by which a host may exceed it and still count as even.
        closed: names of hosts that must be empty.
        pinned: names of machines that stay where they are, whatever the rules.
    """

    hosts: Sequence[Host]
    vms: Sequence[Vm]
    costs: Floats
    rules: Sequence[Rule] = ()
    horizon: Seconds = 3600.0
    most_moves: int | None = None
    most_cpu: float = float("inf")
    levels: Sequence[float] = (0.6, 0.8, 1.0, 1.2, 1.4)
    evenness: float = 0.02
    tolerance: float = 0.1
    closed: frozenset[str] = frozenset()
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Term:
    """A piece of what a load costs: `price * max(0, factor * load - threshold)`, by host."""

    is_memory: bool
    factor: Floats
    threshold: Floats
    price: float


@dataclass(frozen=True, eq=False)
class Group:
    """Items that a rule keeps apart."""

    items: Ints
    rule: Rule


@dataclass(frozen=True, eq=False)
class Items:
    """A problem as arrays; one entry, or one row, for each item.

    Attributes:
        members: indices of its machines.
        cpu: cores that it asks for.
        memory: bytes.
        home: host where all of it runs; -1 if it is spread over several.
        allowed: whether it may run on each host.
        cost: core-seconds lost if it goes to each host.
        moves: machines that migrate if it goes to each host.
        groups: which items are apart from one another.
        cores, room, most_cpu: of each host: cores, bytes, cores that guests may ask for.
        terms: what loads cost.
        most_moves: machines that may move.
    """

    members: tuple[tuple[int, ...], ...]
    cpu: Floats
    memory: Floats
    home: Ints
    allowed: Bools
    cost: Floats
    moves: Ints
    groups: tuple[Group, ...]
    cores: Floats
    room: Floats
    most_cpu: Floats
    terms: tuple[Term, ...]
    most_moves: int

    def load_cost(self, cpu: Floats, memory: Floats, hosts: Ints | slice = slice(None)) -> Floats:
        """Return what loads of these hosts cost; arrays of any shape whose last axis is hosts."""
        total = np.zeros(np.broadcast_shapes(cpu.shape, memory.shape))
        for term in self.terms:
            load = memory if term.is_memory else cpu
            excess = term.factor[hosts] * load - term.threshold[hosts]
            total += term.price * np.maximum(excess, 0.0)
        return total


def compile_problem(problem: Problem) -> Items:
    """Return the arrays of a problem, names resolved and machines joined to items.

    Raises:
        InputError: unknown names, numbers out of range.
    """
    _check(problem)
    host_of = {host.name: index for index, host in enumerate(problem.hosts)}
    vm_of = {vm.name: index for index, vm in enumerate(problem.vms)}
    where = np.array([host_of[vm.host] for vm in problem.vms], np.int64)
    pinned = np.array([vm.name in problem.pinned for vm in problem.vms], bool)
    allowed = _allowed(problem, host_of, vm_of, where, pinned)
    members = _components(problem, vm_of, pinned)
    costs = np.asarray(problem.costs, float)
    costs = np.broadcast_to(costs[:, None] if costs.ndim == 1 else costs, allowed.shape)
    away = where[:, None] != np.arange(len(problem.hosts))

    def join(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.array([values[list(item)].sum(axis=0) for item in members])

    homes = [{int(where[vm]) for vm in item} for item in members]
    item_of = {vm: item for item, vms in enumerate(members) for vm in vms}
    room = np.array([host.memory for host in problem.hosts], float)
    most_cpu = np.array([problem.most_cpu * host.cores for host in problem.hosts])
    cpu = np.array([vm.cpu for vm in problem.vms], float)
    memory = np.array([vm.memory for vm in problem.vms], float)
    # What is pinned stays even where a host has too little room for it: it must not get worse.
    still = np.zeros((2, len(problem.hosts)))
    np.add.at(still[0], where[pinned], cpu[pinned])
    np.add.at(still[1], where[pinned], memory[pinned])
    allowed_items = np.array([allowed[list(item)].all(axis=0) for item in members])
    groups = tuple(_groups(problem, vm_of, item_of, pinned, allowed_items, where))
    return Items(
        members=members,
        cpu=np.asarray(join(cpu), float),
        memory=np.asarray(join(memory), float),
        home=np.array([home.pop() if len(home) == 1 else -1 for home in homes], np.int64),
        allowed=allowed_items,
        cost=np.asarray(join(np.where(away, costs, 0.0)), float),
        moves=np.asarray(join(away.astype(np.int64)), np.int64),
        groups=groups,
        cores=np.array([host.cores for host in problem.hosts], float),
        room=np.maximum(room, still[1]),
        most_cpu=np.maximum(most_cpu, still[0]) * (1.0 + 1e-9),  # sums round as they like
        terms=_terms(problem, float(cpu.sum()), float(memory.sum())),
        most_moves=_ANY if problem.most_moves is None else problem.most_moves,
    )


def _allowed(
    problem: Problem,
    host_of: dict[str, int],
    vm_of: dict[str, int],
    where: Ints,
    pinned: Bools,
) -> Bools:
    allowed = np.ones((len(problem.vms), len(problem.hosts)), bool)
    allowed[:, [host_of[name] for name in problem.closed]] = False
    for rule in problem.rules:
        vms = [vm_of[name] for name in rule.vms]
        named = np.zeros(len(problem.hosts), bool)
        named[[host_of[name] for name in rule.hosts]] = True
        if rule.kind == "only":
            allowed[vms] &= named
        elif rule.kind == "never":
            allowed[vms] &= ~named
        elif rule.kind == "together":
            fixed = [vm for vm in vms if pinned[vm]]
            if fixed:
                allowed[vms] &= np.isin(np.arange(len(problem.hosts)), where[fixed])
    allowed[pinned] = where[pinned, None] == np.arange(len(problem.hosts))
    return allowed


def _components(
    problem: Problem, vm_of: dict[str, int], pinned: Bools
) -> tuple[tuple[int, ...], ...]:
    """Return machines that rules keep together, as sets that are as large as rules make them."""
    root = list(range(len(problem.vms)))

    def find(vm: int) -> int:
        while root[vm] != vm:
            vm = root[vm]
        return vm

    for rule in problem.rules:
        if rule.kind == "together":
            free = [vm_of[name] for name in rule.vms if not pinned[vm_of[name]]]
            for first, second in pairwise(free):
                low, high = sorted((find(first), find(second)))
                root[high] = low
    found: dict[int, list[int]] = {}
    for vm in range(len(problem.vms)):
        found.setdefault(find(vm), []).append(vm)
    return tuple(tuple(item) for item in found.values())


def _groups(
    problem: Problem,
    vm_of: dict[str, int],
    item_of: dict[int, int],
    pinned: Bools,
    allowed: Bools,
    where: Ints,
) -> Iterable[Group]:
    """Yield what rules keep apart; what is pinned bars its host to the others instead."""
    for rule in problem.rules:
        if rule.kind != "apart":
            continue
        vms = list(dict.fromkeys(vm_of[name] for name in rule.vms))
        free = [item_of[vm] for vm in vms if not pinned[vm]]
        for vm in vms:
            if pinned[vm]:
                allowed[free, where[vm]] = False
        yield Group(np.array(free, np.int64), rule)


def _terms(problem: Problem, cpu: float, memory: float) -> tuple[Term, ...]:
    cores = np.array([host.cores for host in problem.hosts], float)
    room = np.array([host.memory for host in problem.hosts], float)
    ones = np.ones(len(cores))
    price = problem.horizon / len(problem.levels)
    terms = [Term(False, level * ones, cores, price) for level in problem.levels]
    if problem.evenness > 0.0:
        is_open = np.array([host.name not in problem.closed for host in problem.hosts])
        even = (1.0 + problem.tolerance) * cores
        price = problem.horizon * problem.evenness
        if np.any(is_open):
            terms.append(Term(False, ones, even * (cpu / cores[is_open].sum()), price))
            terms.append(Term(True, cores / room, even * (memory / room[is_open].sum()), price))
    return tuple(terms)


def called(rule: Rule) -> str:
    """Return how messages call a rule."""
    return f"rule {rule.name!r}" if rule.name else f"rule {rule.kind!r} of {', '.join(rule.vms)}"


def _check(problem: Problem) -> None:
    _check_numbers(problem)
    hosts = [host.name for host in problem.hosts]
    vms = [vm.name for vm in problem.vms]
    for kind, names in (("host", hosts), ("machine", vms)):
        for name, number in Counter(names).items():
            if number > 1:
                raise InputError(f"placement: {kind} {name!r} is there twice")
    known_hosts, known_vms = set(hosts), set(vms)
    used = [(f"machine {vm.name!r}", [vm.host], known_hosts) for vm in problem.vms]
    used += [(called(rule), list(rule.hosts), known_hosts) for rule in problem.rules]
    used += [(called(rule), list(rule.vms), known_vms) for rule in problem.rules]
    used += [("closed", sorted(problem.closed), known_hosts)]
    used += [("pinned", sorted(problem.pinned), known_vms)]
    for place, names, known in used:
        for name in names:
            if name not in known:
                what = "host" if known is known_hosts else "machine"
                raise InputError(f"{place}: no {what} {name!r}; {did_you_mean(name, known)}")


def _check_numbers(problem: Problem) -> None:
    shape, number = np.shape(problem.costs), len(problem.vms)
    if shape not in ((number,), (number, len(problem.hosts))):
        raise InputError(
            f"placement: costs have the shape {shape}, expected ({number},) or "
            f"({number}, {len(problem.hosts)})"
        )
    if not np.all(np.isfinite(problem.costs)) or np.any(problem.costs < 0.0):
        raise InputError("placement: costs have to be finite and not negative")
    for name, value in (("horizon", problem.horizon), ("most_cpu", problem.most_cpu)):
        if not value > 0.0:
            raise InputError(f"placement: {name} is {value}, expected more than 0")
    for name, least in (("evenness", problem.evenness), ("tolerance", problem.tolerance)):
        if not least >= 0.0:
            raise InputError(f"placement: {name} is {least}, expected 0 or more")
    if not problem.levels or min(problem.levels) <= 0.0:
        raise InputError(
            f"placement: levels are {tuple(problem.levels)}, expected some, all more than 0"
        )
    for host in problem.hosts:
        if host.cores <= 0.0 or host.memory <= 0:
            raise InputError(
                f"host {host.name!r}: {host.cores:g} cores and {host.memory} bytes of memory, "
                "expected more than 0 of both"
            )
