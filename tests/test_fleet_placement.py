"""Placements: against brute force on tiny problems, then on fleets; the order of moves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migsim import random_unit
from migsim.errors import InputError
from migsim.fleet.model import Host, Rule, Vm
from migsim.fleet.placement import Placement, place, place_evacuees
from migsim.fleet.placement.model import Problem
from migsim.fleet.placement.order import Order, sequence
from migsim.units import GIB


def host(name: str, cores: float = 8.0, memory: int = 8) -> Host:
    return Host(name=name, network="n", cores=cores, memory=memory * GIB)


def vm(name: str, on: str, memory: int = 1, cpu: float = 1.0) -> Vm:
    return Vm(name=name, host=on, memory=memory * GIB, cpu=cpu)


def problem_of(
    hosts: list[Host], vms: list[Vm], rules: tuple[Rule, ...] = (), **more: object
) -> Problem:
    costs = np.array([0.5 + vm.memory / GIB for vm in vms])
    return Problem(**{"hosts": hosts, "vms": vms, "rules": rules, "costs": costs, **more})


def random_fleet(
    seed: int, *, hosts: int, vms: int, load: float, memory: float, apart: int = 0
) -> Problem:
    """Return a fleet with flavours as clouds sell them, filled without regard to load."""
    unit = (random_unit(np.uint64(seed), counter) for counter in itertools.count())
    flavours = [(2, 4), (2, 8), (4, 8), (4, 16), (8, 32), (16, 64)]
    weights = np.cumsum([0.2, 0.25, 0.2, 0.2, 0.1, 0.05])
    sizes = [flavours[min(5, int(np.searchsorted(weights, next(unit))))] for _ in range(vms)]
    cpu = np.array([cores * next(unit) * next(unit) for cores, _ in sizes])
    room = sum(gib for _, gib in sizes) / hosts / memory
    cores = float(cpu.sum()) / hosts / load
    likes = np.array([0.2 + next(unit) for _ in range(hosts)])
    free, where = np.full(hosts, room), []
    for _, gib in sizes:
        chance = np.cumsum(np.where(free >= gib, likes, 0.0))
        where.append(int(np.searchsorted(chance, next(unit) * chance[-1], side="right")))
        free[where[-1]] -= gib
    machines = [
        Vm(name=f"v{i}", host=f"h{where[i]}", memory=sizes[i][1] * GIB, cpu=float(cpu[i]))
        for i in range(vms)
    ]
    rules = [
        Rule(kind="apart", vms=tuple(f"v{i}" for i in range(first, vms, apart)), name=f"a{first}")
        for first in range(apart)
    ]
    return Problem(
        hosts=[
            Host(name=f"h{i}", network="n", cores=cores, memory=int(room * GIB))
            for i in range(hosts)
        ],
        vms=machines,
        rules=rules,
        costs=np.array([0.3 + cpu[i] * (0.5 + 0.15 * sizes[i][1]) for i in range(vms)]),
    )


def breaches(problem: Problem, hosts: Mapping[str, str]) -> list[str]:
    """Return all constraints that a placement breaks, told apart from the code under test."""
    found = []
    pinned = problem.pinned
    for taker in problem.hosts:
        here = [vm for vm in problem.vms if hosts[vm.name] == taker.name]
        if any(vm.name not in pinned for vm in here):
            if sum(vm.memory for vm in here) > taker.memory:
                found.append(f"memory of {taker.name}")
            if sum(vm.cpu for vm in here) > problem.most_cpu * taker.cores * (1 + 1e-9):
                found.append(f"cpu of {taker.name}")
            if taker.name in problem.closed:
                found.append(f"closed {taker.name}")
    for rule in problem.rules:
        free = [name for name in rule.vms if name not in pinned]
        used = [hosts[name] for name in free]
        if rule.kind == "together" and len(set(used)) > 1:
            found.append(f"together {rule.vms}")
        fixed = [hosts[name] for name in rule.vms if name in pinned]
        if rule.kind == "apart" and (len(set(used)) < len(used) or set(used) & set(fixed)):
            found.append(f"apart {rule.vms}")
        if rule.kind == "only" and not set(used) <= set(rule.hosts):
            found.append(f"only {rule.vms}")
        if rule.kind == "never" and set(used) & set(rule.hosts):
            found.append(f"never {rule.vms}")
    found += [vm.name for vm in problem.vms if vm.name in pinned and hosts[vm.name] != vm.host]
    moves = sum(hosts[vm.name] != vm.host for vm in problem.vms)
    if problem.most_moves is not None and moves > problem.most_moves:
        found.append(f"{moves} moves")
    return found


def objective(problem: Problem, hosts: Mapping[str, str]) -> float:
    """Return what a placement costs, written anew from the definition."""
    takers = [taker for taker in problem.hosts if taker.name not in problem.closed]
    mean_cpu = sum(vm.cpu for vm in problem.vms) / sum(taker.cores for taker in takers)
    mean_memory = sum(vm.memory for vm in problem.vms) / sum(taker.memory for taker in takers)
    total = sum(
        float(cost)
        for vm, cost in zip(problem.vms, problem.costs, strict=True)
        if hosts[vm.name] != vm.host
    )
    for taker in problem.hosts:
        here = [vm for vm in problem.vms if hosts[vm.name] == taker.name]
        cpu, memory = sum(vm.cpu for vm in here), sum(vm.memory for vm in here)
        lost = np.mean([max(0.0, level * cpu - taker.cores) for level in problem.levels])
        even = max(0.0, cpu / taker.cores - (1 + problem.tolerance) * mean_cpu)
        even += max(0.0, memory / taker.memory - (1 + problem.tolerance) * mean_memory)
        total += problem.horizon * (lost + problem.evenness * taker.cores * even)
    return float(total)


def all_placements(problem: Problem) -> Iterator[dict[str, str]]:
    names = [taker.name for taker in problem.hosts]
    for chosen in itertools.product(names, repeat=len(problem.vms)):
        yield {vm.name: name for vm, name in zip(problem.vms, chosen, strict=True)}


@st.composite
def tiny_problems(draw: st.DrawFn) -> Problem:
    names = ["a", "b", "c"][: draw(st.integers(2, 3))]
    hosts = [
        host(name, draw(st.sampled_from([2.0, 4.0])), draw(st.integers(3, 8))) for name in names
    ]
    vms = [
        vm(
            f"v{index}",
            draw(st.sampled_from(names)),
            draw(st.integers(1, 4)),
            draw(st.sampled_from([0.0, 0.25, 0.7, 1.3, 2.0])),
        )
        for index in range(draw(st.integers(1, 5)))
    ]
    some_vms = st.lists(
        st.sampled_from([vm.name for vm in vms]), min_size=1, max_size=3, unique=True
    )
    some_hosts = st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
    rules = []
    for kind in draw(st.lists(st.sampled_from(["together", "apart", "only", "never"]), max_size=3)):
        of = draw(some_hosts) if kind in ("only", "never") else []
        rules.append(Rule(kind=kind, vms=tuple(draw(some_vms)), hosts=tuple(of), name=kind))
    return problem_of(
        hosts,
        vms,
        tuple(rules),
        horizon=draw(st.sampled_from([10.0, 3600.0])),
        most_moves=draw(st.sampled_from([None, None, 0, 1, 2])),
        most_cpu=draw(st.sampled_from([float("inf"), 1.0])),
    )


slow_start = settings(max_examples=100, deadline=None, derandomize=True,
                      suppress_health_check=[HealthCheck.too_slow])  # fmt: skip


@slow_start
@given(tiny_problems())
def test_a_placement_is_as_good_as_the_best_of_all(problem: Problem) -> None:
    costs = [
        objective(problem, hosts)
        for hosts in all_placements(problem)
        if not breaches(problem, hosts)
    ]
    if not costs:
        with pytest.raises(InputError, match="placement: "):
            place(problem)
        return
    found = place(problem, gap=0.001)
    assert breaches(problem, found.hosts) == []
    assert found.objective == pytest.approx(objective(problem, found.hosts), rel=1e-9, abs=1e-6)
    assert found.bound <= min(costs) * (1 + 1e-6) + 1e-6
    assert found.objective <= min(costs) / (1 - 0.001) + 1e-5
    assert found.gap <= 0.0011
    assert place(problem, gap=0.001) == found


def walk(problem: Problem, order: Order) -> dict[str, str]:
    """Follow an order wave by wave; nothing may break that was whole before."""
    at = {vm.name: vm.host for vm in problem.vms}
    memory = {vm.name: vm.memory for vm in problem.vms}
    room = {taker.name: taker.memory for taker in problem.hosts}
    for _, group in itertools.groupby(order.steps, key=lambda step: step.wave):
        wave = list(group)
        for step in wave:
            assert at[step.vm] == step.source != step.destination
            arriving = sum(memory[s.vm] for s in wave if s.destination == step.destination)
            present = sum(memory[name] for name, where in at.items() if where == step.destination)
            assert present + arriving <= room[step.destination]
            comers = {s.vm for s in wave if s.destination == step.destination}
            there = comers | {name for name, where in at.items() if where == step.destination}
            for rule in problem.rules:
                if rule.kind == "apart" and step.vm in rule.vms:
                    assert len(there & set(rule.vms)) == 1
                if rule.kind in ("only", "never") and step.vm in rule.vms:
                    assert (step.destination in rule.hosts) == (rule.kind == "only")
        at.update({step.vm: step.destination for step in wave})
    return at


@slow_start
@given(tiny_problems(), st.data())
def test_an_order_keeps_all_constraints_at_every_moment(
    problem: Problem, data: st.DataObject
) -> None:
    targets = [hosts for hosts in all_placements(problem) if not breaches(problem, hosts)]
    if not targets:
        return
    target = data.draw(st.sampled_from(targets))
    order = sequence(problem, target)
    at = walk(problem, order)
    assert order.given_up == tuple(name for name in at if at[name] != target[name])
    if problem.most_moves is not None:
        assert len(order.steps) <= problem.most_moves


def test_a_swap_of_full_hosts_goes_by_a_third() -> None:
    hosts = [host("a", memory=4), host("b", memory=4), host("c", memory=3)]
    vms = [vm("big", "a", 4), vm("one", "b", 2), vm("two", "b", 1)]
    problem = problem_of(hosts, vms)
    order = sequence(problem, {"big": "b", "one": "a", "two": "a"})
    assert order.given_up == ()
    assert [step.vm for step in order.steps if step.aside] == ["two", "one"]
    assert walk(problem, order) == {"big": "b", "one": "a", "two": "a"}
    stuck = sequence(replace(problem, hosts=hosts[:2]), {"big": "b", "one": "a", "two": "a"})
    assert stuck == Order(steps=(), given_up=("big", "one", "two"))
    limited = sequence(replace(problem, most_moves=4), {"big": "b", "one": "a", "two": "a"})
    assert "big" in limited.given_up


@pytest.mark.parametrize(
    ("rules", "more", "words"),
    [
        ([Rule(kind="apart", vms=("u", "v", "w"), name="quorum")], {},
         "rule 'quorum' keeps 'u', 'v', 'w' apart, which needs 3 hosts, but only 2 may take"),
        ([Rule(kind="only", vms=("u",), hosts=("a",), name="x"),
          Rule(kind="never", vms=("u",), hosts=("a",), name="y")], {},
         "'u' may run on no host, for rule 'x' and rule 'y'"),
        ([Rule(kind="together", vms=("u", "v"), name="x"),
          Rule(kind="apart", vms=("u", "v"), name="y")], {}, "keeps 'u', 'v' apart, which other"),
        ([Rule(kind="together", vms=("u", "v", "w"), name="x")], {}, "12 GiB of memory needed"),
        ([Rule(kind="never", vms=("u",), hosts=("a",))], {"most_moves": 0}, "make 1 machines move"),
        ([], {"closed": frozenset({"a"})}, "machines need 16 GiB of memory, but hosts have 8"),
        ([], {"costs": np.ones(3)}, "costs have the shape (3,), expected (4,) or (4, 2)"),
        ([], {"costs": -np.ones(4)}, "costs have to be finite and not negative"),
        ([], {"horizon": 0.0}, "horizon is 0.0, expected more than 0"),
        ([], {"most_cpu": 0.1}, "1 cores needed, but no host"),
        ([Rule(kind="only", vms=("u",), hosts=("q",), name="x")], {},
         "rule 'x': no host 'q'; known: a, b"),
        ([Rule(kind="only", vms=("u",), hosts=("a",), name="x"),
          Rule(kind="only", vms=("v",), hosts=("a",), name="y"),
          Rule(kind="never", vms=("x",), hosts=("a",), name="z"),
          Rule(kind="only", vms=("w",), hosts=("a",), name="w")], {},
         "rule 'x' and rule 'y' and rule 'w' cannot be kept within the memory of hosts"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_named(
    rules: list[Rule], more: dict[str, object], words: str
) -> None:
    problem = problem_of(
        [host("a"), host("b")], [vm(name, "a", 4) for name in "uvwx"], tuple(rules), **more
    )
    with pytest.raises(InputError) as told:
        place(problem)
    assert words in str(told.value)


def test_broken_rules_and_overfull_hosts_are_mended() -> None:
    hosts = [host(name, memory=12) for name in "abcd"]
    vms = [vm(f"v{index}", "a", 1 + index % 3, 0.5) for index in range(16)]
    rules = tuple(
        Rule(kind="apart", vms=(f"v{i}", f"v{i + 1}", f"v{i + 2}")) for i in range(0, 15, 3)
    )
    problem = problem_of(hosts, vms, rules)
    found = place(problem)
    assert breaches(problem, {vm.name: vm.host for vm in vms}) != []
    assert breaches(problem, found.hosts) == []
    assert found.gap <= 0.02
    order = sequence(problem, found.hosts)
    assert walk(problem, order) == found.hosts


def test_evacuees_go_and_the_others_stay() -> None:
    hosts = [host(name, memory=16) for name in "abcd"]
    vms = [
        vm(f"v{index}", "abcd"[index % 4], 1 + index % 3, 0.25 * (index % 5)) for index in range(20)
    ]
    rules = (
        Rule(kind="apart", vms=("v0", "v1"), name="x"),  # v1 is on b
        Rule(kind="together", vms=("v4", "v8", "v3"), name="y"),  # v3 is on d
        Rule(kind="apart", vms=("v1", "v5"), name="broken, of others"),
    )
    problem = problem_of(hosts, vms, rules)
    found = place_evacuees(problem, "a")
    assert found.moves == ("v0", "v4", "v8", "v12", "v16")
    assert found.hosts["v0"] in ("c", "d")
    assert found.hosts["v4"] == found.hosts["v8"] == "d"
    assert {found.hosts[name] for name in found.moves} <= {"b", "c", "d"}
    free = replace(problem, rules=())
    with pytest.raises(InputError, match="machines need 9 GiB of memory, but hosts have 6"):
        place_evacuees(free, "a", to=("c",))
    found = place_evacuees(free, "a", to=("c", "d"))
    assert {found.hosts[name] for name in found.moves} == {"c", "d"}
    assert breaches(replace(free, closed=frozenset("a")), found.hosts) == []
    with pytest.raises(InputError, match="evacuation: no host 'q'; known: a, b, c, d"):
        place_evacuees(problem, "q")


def test_costs_may_depend_on_the_destination() -> None:
    hosts = [host(name) for name in "abc"]
    vms = [vm(f"v{index}", "a", 1, 2.0) for index in range(5)]
    far = np.tile([0.0, 5.0, 500.0], (5, 1))
    found = place(problem_of(hosts, vms, costs=far, evenness=0.0))
    assert set(found.moves) <= set(found.hosts) and "c" not in found.hosts.values()
    assert found.migrations == 5.0 * len(found.moves)


def test_a_fleet_without_contention_stays_as_it_is() -> None:
    vms = [vm(f"v{index}", "abcd"[index % 4], 1, 0.5) for index in range(16)]
    problem = problem_of([host(name) for name in "abcd"], vms)
    assert place(problem) == Placement(
        hosts={vm.name: vm.host for vm in vms},
        moves=(),
        objective=0.0,
        loads=0.0,
        migrations=0.0,
        bound=0.0,
        before=0.0,
    )
    nothing = place(replace(problem, vms=[], costs=np.zeros(0)))
    assert (nothing.hosts, nothing.moves, nothing.gap) == ({}, (), 0.0)


def check(problem: Problem, found: Placement, gap: float = 0.02) -> None:
    assert breaches(problem, found.hosts) == []
    assert found.objective == pytest.approx(objective(problem, found.hosts), rel=1e-9)
    assert found.gap <= gap
    assert found.objective < 0.5 * found.before


@pytest.mark.parametrize("more", [{}, {"apart": 20}, {"most_moves": 20}])
def test_a_small_cluster(more: dict[str, int]) -> None:
    most_moves = more.pop("most_moves", None)
    problem = random_fleet(3, hosts=20, vms=300, load=0.6, memory=0.7, **more)
    check(problem, place(replace(problem, most_moves=most_moves)))


def test_a_hundred_hosts_with_two_thousand_machines() -> None:
    """With a proven gap under 2 %, which takes 2 to 5 s on 2 cores."""
    problem = random_fleet(1, hosts=100, vms=2000, load=0.65, memory=0.75, apart=40)
    found = place(problem)
    check(problem, found)
    order = sequence(problem, found.hosts)
    assert order.given_up == ()
    assert walk(problem, order) == found.hosts
