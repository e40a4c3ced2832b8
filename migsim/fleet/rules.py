"""Whether rules of placement contradict one another, the hosts, or where machines start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from migsim.fleet.lines import Place
from migsim.fleet.mistakes import Mistakes
from migsim.fleet.model import Fleet, Rule
from migsim.units import format_size

__all__ = ["Bundles", "check_rules"]


@dataclass(frozen=True)
class Bundles:
    """Machines that rules keep together, and the hosts that they may be on.

    Attributes:
        of: the bundle of each machine: the first of those that it goes with, often itself.
        members: the machines of each bundle.
        rules: those that forbid each bundle some hosts.
    """

    of: Mapping[str, str]
    members: Mapping[str, Sequence[str]]
    rules: Mapping[str, Sequence[Rule]]

    def forbidding(self, vm: str, host: str) -> str | None:
        """Return the name of a rule that keeps a machine from a host, None if there is none."""
        for rule in self.rules[self.of[vm]]:
            if (host in rule.hosts) != (rule.kind == "only"):
                return rule.name
        return None


def check_rules(fleet: Fleet, vms: Mapping[str, Place], mistakes: Mistakes) -> Bundles:
    """Note rules that cannot hold, or do not in the beginning; ``vms`` says where those stand."""
    for number, rule in enumerate(fleet.rules):
        _check_form(rule, ("rules", number), mistakes)
    bundles = _bundle(fleet)
    allowed = _check_hosts(fleet, bundles, vms, mistakes)
    for number, rule in enumerate(fleet.rules):
        if rule.kind == "apart":
            _check_apart(rule, ("rules", number), bundles, allowed, mistakes)
        _check_start(fleet, rule, ("rules", number), mistakes)
    return bundles


def _check_form(rule: Rule, place: Place, mistakes: Mistakes) -> None:
    of_hosts = rule.kind in {"only", "never"}
    if of_hosts and not rule.hosts:
        mistakes.note(place, f"'{rule.kind}' names no hosts, expected one or more")
    if not of_hosts and rule.hosts:
        mistakes.note((*place, "hosts"), f"'{rule.kind}' is about machines, expected no hosts")
    least = 1 if of_hosts else 2
    if len(rule.vms) < least:
        mistakes.note(
            (*place, "vms"),
            f"'{rule.kind}' binds {len(rule.vms)} machines, expected {least} or more",
        )


def _bundle(fleet: Fleet) -> Bundles:
    """Return the machines that are to be together, directly or by way of others (union-find)."""
    parent = {name: name for name in fleet.vms}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for rule in fleet.rules:
        if rule.kind == "together":
            for name in rule.vms:
                parent[root(name)] = root(rule.vms[0])
    of = {name: root(name) for name in fleet.vms}
    members: dict[str, list[str]] = {name: [] for name in dict.fromkeys(of.values())}
    for name, bundle in of.items():
        members[bundle].append(name)
    rules: dict[str, list[Rule]] = {bundle: [] for bundle in members}
    for rule in fleet.rules:
        if rule.kind in {"only", "never"} and rule.hosts:
            for bundle in dict.fromkeys(of[name] for name in rule.vms):
                rules[bundle].append(rule)
    return Bundles(of, members, rules)


def _check_hosts(
    fleet: Fleet, bundles: Bundles, vms: Mapping[str, Place], mistakes: Mistakes
) -> dict[str, list[str]]:
    """Return the hosts that each bundle may be on and that hold it; note those that have none."""
    allowed: dict[str, list[str]] = {}
    for bundle, members in bundles.members.items():
        place = vms[bundle]
        need = sum(fleet.vms[name].memory for name in members)
        free = [name for name in fleet.hosts if bundles.forbidding(bundle, name) is None]
        allowed[bundle] = [name for name in free if fleet.hosts[name].memory >= need]
        whom = f"'{bundle}'" if len(members) == 1 else f"'{bundle}' and what has to be with it"
        rules = ", ".join(f"'{rule.name}'" for rule in bundles.rules[bundle])
        if not free:
            mistakes.note(place, f"the rules {rules} together leave {whom} no host")
        elif not allowed[bundle]:
            largest = format_size(max(fleet.hosts[name].memory for name in free))
            mistakes.note(
                place,
                f"{whom} needs {format_size(need)}, expected at most the {largest} of the largest "
                f"host{' that ' + rules + ' leave' if rules else ''}",
            )
    return allowed


def _check_apart(
    rule: Rule,
    place: Place,
    bundles: Bundles,
    allowed: Mapping[str, Sequence[str]],
    mistakes: Mistakes,
) -> None:
    """Note machines that are to be apart and together, or that have too few hosts for that."""
    seen: dict[str, str] = {}
    for name in rule.vms:
        other = seen.setdefault(bundles.of[name], name)
        if other != name:
            mistakes.note(
                place, f"'{other}' and '{name}' are to be apart, but other rules keep them together"
            )
            return
    hosts = _largest_matching([allowed[bundle] for bundle in seen])
    if hosts < len(seen):
        mistakes.note(
            place,
            f"{len(seen)} machines are to be apart, but there are hosts for {hosts} of them only",
        )


def _largest_matching(choices: Iterable[Sequence[str]]) -> int:
    """Return to how many of those who choose a host of their own can be given (Kuhn 1955)."""
    options = list(choices)
    owner: dict[str, int] = {}

    def place(chooser: int, tried: set[str]) -> bool:
        for host in options[chooser]:
            if host not in tried:
                tried.add(host)
                if host not in owner or place(owner[host], tried):
                    owner[host] = chooser
                    return True
        return False

    return sum(place(chooser, set()) for chooser in range(len(options)))


def _check_start(fleet: Fleet, rule: Rule, place: Place, mistakes: Mistakes) -> None:
    """Note a rule that does not hold in the beginning."""
    hosts = {name: fleet.vms[name].host for name in rule.vms}
    first: dict[str, str] = {}
    for name, host in hosts.items():
        other = first.setdefault(host, name)
        if rule.kind == "apart" and other != name:
            mistakes.note(place, f"'{other}' and '{name}' start on the same host, '{host}'")
            return
        if rule.kind == "together" and len(first) > 1:
            one, two = list(first.items())[:2]
            mistakes.note(place, f"'{one[1]}' starts on '{one[0]}', but '{two[1]}' on '{two[0]}'")
            return
        wrong = rule.hosts and (host in rule.hosts) != (rule.kind == "only")
        if rule.kind in {"only", "never"} and wrong:
            mistakes.note(place, f"'{name}' starts on '{host}', against this rule")
            return
