"""Where should machines run? Placements that lose guests the least, with a proof of how near.

A search in stages, each only if the one before has not proven the gap that was asked for:

1. The relaxation in which what comes into hosts is liquid, solved host by host
   (`placement.bound`): a bound, and which machines had better leave. They are put
   where they cost least, and the placement is improved by moves and swaps (`placement.search`).
2. The present placement, improved likewise; and, where the number of moves is limited, which ties
   all hosts together, the same relaxation as one program.
3. Small exact programs of the machines on a few hosts, over and over; as large as they have to be
   where a constraint is still broken, up to the whole problem.

No stage looks at the clock, only at gaps, nodes and rounds: with one version of SciPy the same
problem has the same answer, however fast the machine. The result is checked against every
constraint before it is returned. The bound is that of the whole problem, up to the tolerance of
HiGHS (1e-6 core-seconds a host).

Measured on 2 cores, 100 hosts and 2,000 machines: 3 to 8 s and a gap under 0.1 % with memory filled
to 93 %, also with 200 rules of five machines apart; 7 to 30 s with a limit on moves. Where memory
is filled to 97 % or more, hosts exchange machines nearly one by one: gaps of 2 % (97 %) to 17 %
(98.5 %) were left after 30 s, and 10 % with 20 rules of 90 machines apart on 100 hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from migsim.errors import InputError, did_you_mean
from migsim.fleet.placement.bound import solve_by_blocks
from migsim.fleet.placement.milp import Columns, build, relaxed_columns, solve
from migsim.fleet.placement.model import Ints, Items, Problem, compile_problem
from migsim.fleet.placement.search import State
from migsim.fleet.placement.verdict import check_each_constraint, why_impossible

__all__ = ["Placement", "Problem", "place", "place_evacuees"]

_STEPS = 2_000  # of a local search; 100 hosts and 2,000 machines need a few hundred
_NODES = 100  # of the search tree of an exact program of a few hosts
_FEW = 3  # hosts in one
_ROUNDS = 40  # such programs
_WHOLE = 2_000  # binary columns up to which the whole problem is solved as one exact program
_LARGEST = 40_000  # and up to which it is tried where nothing else keeps the constraints


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Which machine runs where, and what that costs.

    Attributes:
        hosts: by the machine's name, in the order of the problem.
        moves: names of the machines that migrate, in the order of the problem.
        objective: core-seconds lost over the horizon: `loads` and `migrations`.
        loads: what is lost by contention, and the price of unevenness.
        migrations: what guests lose by migrating.
        bound: no placement that keeps the constraints loses less.
        before: what the present placement would lose, whether or not it keeps the constraints.
    """

    hosts: Mapping[str, str]
    moves: tuple[str, ...]
    objective: float
    loads: float
    migrations: float
    bound: float
    before: float

    @property
    def gap(self) -> float:
        """How far the objective may be from the optimum, as a share of the objective."""
        return _gap(self.objective, self.bound)


def place(problem: Problem, *, gap: float = 0.02) -> Placement:
    """Return a placement that keeps all constraints and is within the gap, or as near as it gets.

    Raises:
        InputError: where there is none, or none was found, with the constraint that is in the way.
    """
    if not problem.vms:
        nothing = {"objective": 0.0, "loads": 0.0, "migrations": 0.0, "bound": 0.0, "before": 0.0}
        return Placement(hosts={}, moves=(), **nothing)
    items = compile_problem(problem)
    check_each_constraint(problem, items)
    best, bound = _search(problem, items, gap)
    if best is None:
        raise why_impossible(problem, proven=False)
    return _placement(problem, items, best.place, bound)


def place_evacuees(
    problem: Problem, host: str, *, to: tuple[str, ...] = (), gap: float = 0.02
) -> Placement:
    """Return where the machines of one host go, while all others stay.

    Args:
        problem: all hosts and machines.
        host: that is to be emptied.
        to: hosts that may take its machines; empty for all.
        gap: as for `place`.

    Raises:
        InputError: as for `place`; an unknown host.
    """
    known = [host.name for host in problem.hosts]
    for name in (host, *to):
        if name not in known:
            raise InputError(f"evacuation: no host {name!r}; {did_you_mean(name, known)}")
    barred = {host, *(name for name in known if to and name not in to)}
    others = frozenset(vm.name for vm in problem.vms if vm.host != host)
    closed = problem.closed | barred
    return place(replace(problem, closed=closed, pinned=problem.pinned | others), gap=gap)


def _gap(objective: float, bound: float) -> float:
    return max(0.0, objective - bound) / objective if objective > 1e-9 else 0.0


def _search(problem: Problem, items: Items, gap: float) -> tuple[State | None, float]:
    """Return the best state that keeps the constraints, or None, and a bound."""
    columns = relaxed_columns(items)
    relaxed = build(items, columns)
    first = solve_by_blocks(relaxed)
    if first.impossible:
        raise why_impossible(problem, proven=True)
    bound = max(0.0, first.bound)
    state = _from_relaxation(items, columns, first.x)
    if state.holds and _gap(state.cost, bound) <= gap:
        return state, bound
    states = [state, _improved(items, items.home)]
    if problem.most_moves is not None:
        whole = solve(relaxed, gap=gap / 4.0, nodes=1)
        if whole.impossible:
            raise why_impossible(problem, proven=True)
        bound = max(bound, whole.bound)
        states.append(_from_relaxation(items, columns, whole.x))
    state = min(states, key=lambda state: (not state.holds, state.cost))
    if state.holds and items.allowed.sum() > _WHOLE:
        return _refined(items, state, bound, gap), bound
    found, exact = _mended(problem, items, state, gap)
    bound = max(bound, exact)
    return None if found is None else _refined(items, found, bound, gap), bound


def _from_relaxation(items: Items, columns: Columns, x: np.ndarray | None) -> State:
    """Return a state in which those stay that a relaxation lets stay."""
    if x is None:
        return _improved(items, items.home)
    stays = x[: len(columns.item)] > 0.5
    there = np.full(len(items.members), -1)
    there[columns.item[stays]] = columns.host[stays]
    return _improved(items, there)


def _improved(items: Items, there: Ints) -> State:
    """Return a state with all items placed, the largest first, and improved."""
    state = State(items, there)
    free = np.flatnonzero(there < 0)
    state.insert(free[np.argsort(-items.memory[free], kind="stable")])
    state.improve(_STEPS)
    return state


def _exact(items: Items, state: State, hosts: Ints, gap: float) -> tuple[State | None, bool, float]:
    """Place anew all items on these hosts among them.

    Returns:
        The state, or None if none was found; whether none is proven; a bound if these are all.
    """
    free = np.flatnonzero(np.isin(state.place, hosts))
    row, column = np.nonzero(items.allowed[np.ix_(free, hosts)])
    if len(np.unique(row)) < len(free):
        return None, True, 0.0
    nothing = np.zeros(0, np.int64)
    zeros = np.zeros(len(items.room))
    columns = Columns(
        item=free[row],
        host=hosts[column],
        moved=nothing,
        pool=nothing,
        pools=(),
        cpu=zeros,
        memory=zeros,
        hosts=hosts,
    )
    outside = np.setdiff1d(np.arange(len(items.members)), free)
    moved = int(items.moves[outside, state.place[outside]].sum())
    answer = solve(build(items, columns, moved=moved), gap=gap, nodes=_NODES)
    if answer.x is None:
        return None, answer.impossible, answer.bound
    chosen = answer.x[: len(columns.item)] > 0.5
    there = state.place.copy()
    there[columns.item[chosen]] = columns.host[chosen]
    return State(items, there), False, answer.bound


def _mended(problem: Problem, items: Items, state: State, gap: float) -> tuple[State | None, float]:
    """Return a state that keeps the constraints, or None, and the bound if all was looked at."""
    number = len(items.room)
    many = number if items.allowed.sum() <= _WHOLE else _FEW
    roomy = np.argsort(state.memory - items.room, kind="stable")
    while True:
        broken = np.flatnonzero(state.broken())
        hosts = np.array(list(dict.fromkeys([*broken, *roomy]))[: max(many, len(broken))], np.int64)
        size = items.allowed[np.ix_(np.isin(state.place, hosts), hosts)].sum()
        if size > _LARGEST:
            return None, 0.0
        found, none, bound = _exact(items, state, np.sort(hosts), gap)
        is_all = len(hosts) == number
        if found is not None and found.holds:
            better = found if not state.holds or found.cost < state.cost else state
            return better, bound if is_all else 0.0
        if is_all:
            if none:
                raise why_impossible(problem, proven=True)
            return (state if state.holds else None), max(0.0, bound)
        many = min(number, 2 * max(many, len(broken)))


def _refined(items: Items, state: State, bound: float, gap: float) -> State:
    """Place the items of a few hosts anew, again and again, as long as the gap is too wide."""
    seeds: list[int] = []
    for _ in range(_ROUNDS):
        if _gap(state.cost, bound) <= gap:
            break
        if not seeds:
            seeds = _costliest(items, state)
        found, _, _ = _exact(items, state, _around(items, state, seeds.pop(0)), gap / 10.0)
        if found is not None and found.holds and found.cost < state.cost:
            found.improve(_STEPS)
            state = found
    return state


def _costliest(items: Items, state: State) -> list[int]:
    """Return hosts by what their load and the machines that left them cost."""
    costs = items.load_cost(state.cpu, state.memory)
    left = np.where(items.home < 0, state.place, items.home)
    np.add.at(costs, left, items.cost[np.arange(len(left)), state.place])
    return [int(host) for host in np.argsort(-costs, kind="stable")]


def _around(items: Items, state: State, host: int) -> Ints:
    """Return a few hosts: this one, those that exchange items with it, those with room for more."""
    costs = items.cost[np.arange(len(state.place)), state.place]
    order = np.argsort(-costs, kind="stable")
    went = [state.place[item] for item in order if items.home[item] == host]
    came = [items.home[item] for item in order if state.place[item] == host]
    roomy = np.argsort(state.memory / items.room, kind="stable")
    hosts = [int(other) for other in (host, *went, *came, *roomy) if other >= 0]
    return np.sort(np.array(list(dict.fromkeys(hosts))[:_FEW], np.int64))


def _placement(problem: Problem, items: Items, place: Ints, bound: float) -> Placement:
    names = [host.name for host in problem.hosts]
    host_of = {}
    for item, host in zip(items.members, place, strict=True):
        for vm in item:
            host_of[vm] = names[int(host)]
    hosts = {vm.name: host_of[index] for index, vm in enumerate(problem.vms)}
    loads = _loads(problem, items, hosts)
    migrations = float(items.cost[np.arange(len(place)), place].sum())
    return Placement(
        hosts=hosts,
        moves=tuple(vm.name for vm in problem.vms if hosts[vm.name] != vm.host),
        objective=loads + migrations,
        loads=loads,
        migrations=migrations,
        bound=min(bound, loads + migrations),
        before=_loads(problem, items, {vm.name: vm.host for vm in problem.vms}),
    )


def _loads(problem: Problem, items: Items, hosts: Mapping[str, str]) -> float:
    index = {host.name: number for number, host in enumerate(problem.hosts)}
    there = np.array([index[hosts[vm.name]] for vm in problem.vms], np.int64)
    cpu = np.bincount(there, [vm.cpu for vm in problem.vms], len(index)).astype(float)
    memory = np.bincount(there, [vm.memory for vm in problem.vms], len(index)).astype(float)
    return float(items.load_cost(cpu, memory).sum())
