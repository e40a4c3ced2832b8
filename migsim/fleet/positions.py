"""Where machines are, what hosts have left, and which moves are allowed."""

from __future__ import annotations

from collections.abc import Mapping

from migsim.fleet.model import Fleet, Rule, Vm

__all__ = ["Positions"]


class Positions:
    """The placement of a fleet's machines while migrations are under way.

    A machine that migrates holds its memory at both hosts, and counts for rules at both.

    Attributes:
        where: the host of each machine that runs.
        bound_for: the destination of each that is migrating.
        down: hosts that have crashed.
    """

    def __init__(self, fleet: Fleet, where: Mapping[str, str] | None = None) -> None:
        self._fleet = fleet
        home = {name: vm.host for name, vm in fleet.vms.items()}
        self.where: dict[str, str] = dict(home if where is None else where)
        self.bound_for: dict[str, str] = {}
        self.down: set[str] = set()
        self._rules: dict[str, list[Rule]] = {name: [] for name in fleet.vms}
        for rule in fleet.rules:
            for name in rule.vms:
                self._rules[name].append(rule)

    def copy(self) -> Positions:
        """Return the same placement, without the migrations under way."""
        other = Positions(self._fleet, self.where)
        other.down = set(self.down)
        return other

    def on(self, host: str) -> list[Vm]:
        """Return the machines that run on ``host``, in the order of the fleet."""
        return [vm for name, vm in self._fleet.vms.items() if self.where.get(name) == host]

    def holding(self, host: str) -> list[Vm]:
        """Return the machines that have memory on ``host``: those that run or arrive there."""
        vms = self._fleet.vms
        return [
            vm for name, vm in vms.items()
            if self.where.get(name) == host or self.bound_for.get(name) == host
        ]  # fmt: skip

    def free_memory(self, host: str) -> int:
        """Return the bytes of memory that ``host`` has left."""
        return self._fleet.hosts[host].memory - sum(vm.memory for vm in self.holding(host))

    def objection(self, name: str, host: str) -> str:
        """Return why machine ``name`` may not go to ``host``; "" where it may."""
        vm = self._fleet.vms[name]
        if host in self.down:
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
        here = self.where.get(name)
        allowed = [
            host for host in hosts or self._fleet.hosts
            if host != here and not self.objection(name, host)
        ]  # fmt: skip
        return max(allowed, key=self.free_memory, default="")
