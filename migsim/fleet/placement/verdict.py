"""Why is there no placement? Which constraint, or which few together, cannot be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from migsim.errors import InputError
from migsim.fleet.model import Rule
from migsim.fleet.placement.milp import build, relaxed_columns, solve
from migsim.fleet.placement.model import Bools, Items, Problem, called, compile_problem
from migsim.units import GIB

__all__ = ["check_each_constraint", "why_impossible"]

_EXACT = 2_000  # binary columns up to which whole problems are looked at


def check_each_constraint(problem: Problem, items: Items) -> None:
    """Look for a constraint that cannot be kept, whatever the others.

    Raises:
        InputError: that names it.
    """
    fits = items.allowed & (items.memory[:, None] <= items.room)
    fits &= items.cpu[:, None] <= items.most_cpu
    for item, members in enumerate(items.members):
        if not fits[item].any():
            raise _homeless(problem, items, item, members)
    for group in items.groups:
        _check_group(problem, items, group.items.tolist(), group.rule, fits)
    pinned = np.array([problem.vms[vms[0]].name in problem.pinned for vms in items.members])
    is_open = items.allowed[~pinned].any(axis=0)
    taken = items.allowed[pinned]  # the only host of each
    for what, need, have, unit in (
        ("GiB of memory", items.memory, items.room, GIB),
        ("cores at most_cpu", items.cpu, items.most_cpu, 1),
    ):
        left = float((have - need[pinned] @ taken)[is_open].sum())
        if need[~pinned].sum() > left * (1.0 + 1e-9):
            raise InputError(
                f"placement: machines need {need[~pinned].sum() / unit:g} {what}, but hosts have "
                f"{left / unit:g}"
            )
    least = int(np.where(fits, items.moves, len(problem.vms) ** 2).min(axis=1).sum())
    if least > items.most_moves:
        raise InputError(
            f"placement: rules and closed hosts make {least} machines move, but most_moves is "
            f"{items.most_moves}"
        )


def _names(problem: Problem, vms: Sequence[int]) -> str:
    names = [repr(problem.vms[vm].name) for vm in vms]
    more = f" and {len(names) - 5} more" if len(names) > 6 else ""
    return ", ".join(names[:5] if more else names) + more


def _homeless(problem: Problem, items: Items, item: int, members: tuple[int, ...]) -> InputError:
    who = f"machine{'s' if len(members) > 1 else ''} {_names(problem, members)}"
    names = {problem.vms[vm].name for vm in members}
    if len(members) > 1:
        who += " (kept together)"
    hosts = np.flatnonzero(items.allowed[item])
    if not len(hosts):
        rules = [called(rule) for rule in problem.rules if names & set(rule.vms)]
        rules += [f"closed host {name!r}" for name in sorted(problem.closed)]
        return InputError(f"placement: {who} may run on no host, for {' and '.join(rules)}")
    if not np.any(items.memory[item] <= items.room[hosts]):
        most = items.room[hosts].max() / GIB
        return InputError(
            f"placement: {who}: {items.memory[item] / GIB:g} GiB of memory needed, but no host "
            f"that may take that has more than {most:g} GiB"
        )
    return InputError(
        f"placement: {who}: {items.cpu[item]:g} cores needed, but no host that may take that and "
        f"has the memory gives more than {items.most_cpu[hosts].max():g} cores"
    )


def _check_group(
    problem: Problem, items: Items, group: Sequence[int], rule: Rule, fits: Bools
) -> None:
    """Is there a host for each, each another? If not, name those that are too many (Hall 1935)."""
    for item in group:
        if group.count(item) > 1:
            both = [vm for vm in items.members[item] if problem.vms[vm].name in rule.vms]
            raise InputError(
                f"placement: {called(rule)} keeps {_names(problem, both)} apart, which other rules "
                "keep together"
            )
    match = maximum_bipartite_matching(sparse.csr_matrix(fits[group]), perm_type="column")
    left = [index for index in range(len(group)) if match[index] < 0]
    if not left:
        return
    taker = {int(host): index for index, host in enumerate(match) if host >= 0}
    crowd, hosts = [left[0]], []
    for index in crowd:  # grows while it is read: those that the crowd would have to displace
        for host in np.flatnonzero(fits[group[index]]):
            if int(host) not in hosts:
                hosts.append(int(host))
                crowd.append(taker[int(host)])
    vms = sorted(
        vm
        for index in crowd
        for vm in items.members[group[index]]
        if problem.vms[vm].name in rule.vms
    )
    names = ", ".join(repr(problem.hosts[host].name) for host in sorted(hosts)[:6])
    raise InputError(
        f"placement: {called(rule)} keeps {_names(problem, vms)} apart, which needs {len(crowd)} "
        f"hosts, but only {len(hosts)} may take them: {names}"
    )


def why_impossible(problem: Problem, *, proven: bool) -> InputError:
    """Return the error that names the fewest constraints that cannot be kept together."""
    if not proven:
        return InputError(
            "placement: no placement was found that keeps all rules, memory and limits, though "
            "none of them is proven impossible; give hosts more room or machines fewer rules"
        )
    if problem.most_moves is not None and not _impossible(replace(problem, most_moves=None)):
        return InputError(
            f"placement: rules and memory cannot be kept with most_moves of {problem.most_moves}; "
            "more machines have to move"
        )
    rules = _fewest(problem)
    limit = "memory" if np.isinf(problem.most_cpu) else "memory and most_cpu"
    if not rules:
        return InputError(f"placement: the {limit} of hosts has no room for all machines at once")
    return InputError(
        f"placement: {' and '.join(called(rule) for rule in rules)} cannot be kept within the "
        f"{limit} of hosts{' and most_moves' if problem.most_moves is not None else ''}"
    )


def _fewest(problem: Problem) -> Sequence[Rule]:
    """Return rules that cannot be kept together, none of which could be spared: chunk by chunk."""
    rules = list(problem.rules)
    size = max(1, len(rules) // 2)
    while rules:
        start = 0
        while start < len(rules):
            fewer = rules[:start] + rules[start + size :]
            if _impossible(replace(problem, rules=fewer)):
                rules = fewer
            else:
                start += size
        if size == 1:
            break
        size //= 2
    return rules


def _impossible(problem: Problem) -> bool:
    """Return whether a problem is proven to have no solution."""
    items = compile_problem(problem)
    try:
        check_each_constraint(problem, items)
    except InputError:
        return True
    columns = relaxed_columns(items)
    if items.allowed.sum() <= _EXACT:
        item, host = np.nonzero(items.allowed)
        nothing = np.zeros(0, np.int64)
        columns = replace(columns, item=item, host=host, moved=nothing, pool=nothing, pools=())
    program = build(items, columns)
    return solve(replace(program, price=0.0 * program.price), gap=1.0, nodes=1_000).impossible
