"""Where machines are, what hosts have left, and which moves are allowed."""

from __future__ import annotations

from migsim.fleet.model import Fleet, Rule, Vm
from migsim.fleet.state import State

__all__ = ["Positions"]


class Positions:
    """What the state of a fleet means for its machines and hosts.

    A machine that migrates holds its memory at both hosts, and counts for rules at both.

    Attributes:
        state: what all this is about.
    """

    def __init__(self, fleet: Fleet, state: State) -> None:
        """Begin where ``state`` stands, and go on from there with a state of its own."""
        self._fleet = fleet
        self.state = state.copy()
        self._known: dict[str, tuple[int, list[Vm], int]] = {}
        self._rules: dict[str, list[Rule]] = {name: [] for name in fleet.vms}
        for rule in fleet.rules:
            for name in rule.vms:
                self._rules[name].append(rule)

    def host_of(self, name: str) -> str:
        """Return the host on which a machine runs; "" where it runs on none, or on two."""
        hosts = self.state.runs_at.get(name, ())
        return hosts[0] if len(hosts) == 1 else ""

    def on(self, host: str) -> list[Vm]:
        """Return the machines that run on ``host``, in the order in which they were placed."""
        return [self._fleet.vms[name] for name in self.state.running(host)]

    def holding(self, host: str) -> list[Vm]:
        """Return the machines that have memory on ``host``: those that run or arrive there."""
        return self._at(host)[1]

    def free_memory(self, host: str) -> int:
        """Return the bytes of memory that ``host`` has left."""
        return self._at(host)[2]

    def _at(self, host: str) -> tuple[int, list[Vm], int]:
        """Return how often a host has changed, who has memory there, and how much is left."""
        known, changes = self._known.get(host), self.state.changes[host]
        if known is None or known[0] != changes:
            vms = [self._fleet.vms[name] for name in self.state.holding(host)]
            left = self._fleet.hosts[host].memory - sum(vm.memory for vm in vms)
            known = self._known[host] = changes, vms, left
        return known

    def objection(self, name: str, host: str) -> str:
        """Return why machine ``name`` may not go to ``host``; "" where it may."""
        vm = self._fleet.vms[name]
        if host not in self.state.up:
            return f"{host} is down"
        if vm.memory > self.free_memory(host):
            return f"{host} has no room for its memory"
        for rule in self._rules[name]:
            broken = self._breaks(rule, name, host)
            if broken:
                return f"{broken} ({rule.name})" if rule.name else broken
        return ""

    def _breaks(self, rule: Rule, name: str, host: str) -> str:
        if rule.kind == "only" and host not in rule.hosts:
            return f"it may only run on {', '.join(rule.hosts)}"
        if rule.kind == "never" and host in rule.hosts:
            return f"it must not run on {host}"
        if rule.kind == "apart":
            near = [vm.name for vm in self.holding(host) if vm.name in rule.vms and vm.name != name]
            if near:
                return f"it must run apart from {near[0]}"
        return ""  # machines that belong together are moved one by one

    def choose(self, name: str, hosts: tuple[str, ...] = ()) -> str:
        """Return the host with the most memory left that ``name`` may go to; "" if there is none.

        ``hosts`` are those to choose from, all by default.
        """
        here = self.host_of(name)
        allowed = [
            host for host in hosts or self._fleet.hosts
            if host != here and not self.objection(name, host)
        ]  # fmt: skip
        return max(allowed, key=self.free_memory, default="")
