"""What a fleet is: networks, hosts, virtual machines, rules, faults, and what is to be done.

Frozen and flat, as read from one TOML file (`migsim.fleet.scenario`). Names refer to one another:
a host to its network, a machine to its host; whoever makes a `Fleet` has checked them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from migsim.units import ByteRate, Bytes, Cores, Count, Fraction, Seconds

__all__ = [
    "Balance",
    "Evacuate",
    "Failure",
    "Fleet",
    "Host",
    "Job",
    "Migrating",
    "Move",
    "Network",
    "Rule",
    "Trunk",
    "Vm",
]

Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A switched segment: hosts meet at a switch that is never the bottleneck.

    Attributes:
        name: of the network.
        rate: of each host's port, bytes per second in each direction, headers included.
        rtt: round trip between two of its hosts.
        most_migrations: how many may cross it at a time; None for any number.
    """

    name: str
    rate: ByteRate
    rtt: Seconds = 200e-6
    most_migrations: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """What joins two networks: an uplink between switches, or a line between sites.

    Attributes:
        name: of the trunk.
        first, second: the networks that it joins.
        rate: bytes per second in each direction.
        rtt: round trip that it adds.
        loss: chance of each packet to be lost.
        most_migrations: how many may cross it at a time; None for any number.
    """

    name: str
    first: str
    second: str
    rate: ByteRate
    rtt: Seconds = 0.0
    loss: Fraction = 0.0
    most_migrations: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine that runs guests.

    Attributes:
        name: of the host.
        network: which it is attached to.
        cores: that guests and the encoders of migrations share.
        memory: for guests.
        rate: of its port, where that is not the network's.
        most_migrations: out of it and into it, at a time (vSphere: 4 at 1 Gbit/s, 8 at 10).
        storage: names of the datastores that it reaches: a guest whose disk lies on one of them
            needs no copy of it to move here.
    """

    name: str
    network: str
    cores: Cores
    memory: Bytes
    rate: ByteRate | None = None
    most_migrations: Count = 4
    storage: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Vm:
    """A virtual machine and what it does.

    Attributes:
        name: of the machine.
        host: where it runs in the beginning.
        memory: bytes.
        vcpus: of the guest.
        cpu: cores that it uses on average.
        workload, workload_args: as in `migsim.Task`.
        vm_args: further attributes of `migsim.VirtualMachine`.
        client_args: who talks to it, as in `migsim.Task`; by default a client on its segment, or
            at its old site where it moves to another network.
        disk_args: its disk, as in `migsim.Task`; empty for none.
        datastore: where its disk lies, if hosts share it.
        algorithm, algorithm_args: how it migrates, where that is not the fleet's way
            (`Fleet.way`).
        seed: of its behaviour.
    """

    name: str
    host: str
    memory: Bytes
    vcpus: Count = 1
    cpu: Cores = 1.0
    workload: str = "idle"
    workload_args: Arguments = field(default_factory=dict)
    vm_args: Arguments = field(default_factory=dict)
    client_args: Arguments = field(default_factory=dict)
    disk_args: Arguments = field(default_factory=dict)
    datastore: str | None = None
    algorithm: str | None = None
    algorithm_args: Arguments = field(default_factory=dict)
    seed: Count = 0


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A constraint on where machines run.

    Attributes:
        kind: ``together`` on one host, ``apart`` on different ones, ``only`` on the hosts named,
            ``never`` on them.
        vms: which machines it binds.
        hosts: for ``only`` and ``never``.
        name: how it is called in messages.
    """

    kind: Literal["together", "apart", "only", "never"]
    vms: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Something that breaks at a set time.

    Attributes:
        at: seconds of the fleet's virtual time.
        kind: a ``crash`` of a host, a link ``down`` (a trunk, or a host's port) or a host that is
            ``slow``: its cores count for less.
        target: name of the host or trunk.
        lasts: seconds until it is mended; infinite by default.
        left: for ``slow``: the share of its cores that is left.
    """

    at: Seconds
    kind: Literal["crash", "down", "slow"]
    target: str
    lasts: Seconds = math.inf
    left: Fraction = 0.5


@dataclass(frozen=True, kw_only=True)
class Migrating:
    """How machines migrate unless they say otherwise.

    Attributes:
        algorithm, algorithm_args: as in `migsim.Task`.
        link_args: of each migration's connection: TCP, buffers, streams (`migsim.Link`).
        limit_seconds: after which a migration is given up.
        retries: how often it is tried again after that, or after a failure that the guest survives.
        backoff: seconds before the first retry; doubled each time.
        confirm, patience, postcopy: what hosts do that do not hear from each other at the
            switch-over (`migsim.fleet.handover.Policy`).
        share_interval: seconds for which links are shared in the same way, at least: a flow that
            comes or goes changes the shares of others at the next multiple.
        gang: whether machines that are on their way from one host to one other at the same time
            have one index of what was sent (`migsim.gang`): an algorithm that deduplicates sends
            what they have in common once.
    """

    algorithm: str = "precopy"
    algorithm_args: Arguments = field(default_factory=dict)
    link_args: Arguments = field(default_factory=dict)
    limit_seconds: Seconds = 86_400.0
    retries: Count = 0
    backoff: Seconds = 10.0
    confirm: Literal["wait", "resume", "fenced"] = "fenced"
    patience: Seconds = 30.0
    postcopy: Literal["recover", "lose"] = "recover"
    share_interval: Seconds = 0.01
    gang: bool = False


@dataclass(frozen=True, kw_only=True)
class Evacuate:
    """Empty a host.

    Attributes:
        host: which is emptied.
        at: when that starts.
        to: hosts that take its machines; empty for all others.
        order: in which machines go; ``best`` is searched for.
        concurrency: migrations at a time; None for the best up to the limits of hosts and networks.
        minimise: the ``time`` to empty, the sum of ``downtime``, or the ``traffic``.
        deadline: when the host goes down; infinite for maintenance, which waits.
    """

    host: str
    at: Seconds = 0.0
    to: tuple[str, ...] = ()
    order: Literal["best", "listed", "smallest", "largest", "random"] = "best"
    concurrency: Count | None = None
    minimise: Literal["time", "downtime", "traffic"] = "time"
    deadline: Seconds = math.inf


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Move machines so that hosts are equally loaded, as DRS does.

    Attributes:
        at: when that starts.
        hosts: among which; empty for all.
        most_moves: migrations at most; None for any number.
        horizon: seconds for which the new placement is expected to hold: what a migration costs
            its guest has to be gained within them.
        gap: how far from the optimum the placement may be, relative; the search goes on until that
            is proven, or it has tried all that it can.
    """

    at: Seconds = 0.0
    hosts: tuple[str, ...] = ()
    most_moves: Count | None = None
    horizon: Seconds = 3600.0
    gap: Fraction = 0.02


@dataclass(frozen=True, kw_only=True)
class Move:
    """Migrate one machine at a set time.

    Attributes:
        vm: which machine.
        to: which host.
        at: when.
        until: the end of the window in which it may start, retries included.
        most_downtime, most_seconds: it is cancelled where migsim predicts more.
    """

    vm: str
    to: str
    at: Seconds = 0.0
    until: Seconds = math.inf
    most_downtime: Seconds = math.inf
    most_seconds: Seconds = math.inf


Job: TypeAlias = Evacuate | Balance | Move
"""What is to be done."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All of a scenario.

    Attributes:
        name: of the scenario.
        seed: chooses what is random: losses on the network, a random order.
        networks, trunks, hosts, vms: by name, in the order of the file.
        rules, failures: constraints and faults.
        jobs: what is to be done, in the order of the file.
        migrating: how.
    """

    name: str
    networks: Mapping[str, Network]
    hosts: Mapping[str, Host]
    vms: Mapping[str, Vm]
    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    failures: tuple[Failure, ...] = ()
    jobs: tuple[Job, ...] = ()
    migrating: Migrating = field(default_factory=Migrating)
    seed: Count = 0

    def way(self, vm: Vm) -> tuple[str, Arguments]:
        """Return the algorithm that a machine migrates by, and its parameters.

        A machine's parameters go on top of the fleet's, unless its algorithm is one of its own.
        """
        if vm.algorithm is not None:
            return vm.algorithm, vm.algorithm_args
        return self.migrating.algorithm, {**self.migrating.algorithm_args, **vm.algorithm_args}
