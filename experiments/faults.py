"""Which algorithm loses a guest, or lets it run twice, when a host or the link between them fails?

Every algorithm migrates a small guest while the source crashes, the destination crashes, or the
link goes down for a second or an hour, at instants all over the migration and in each step of the
switch-over; and hosts that do not hear from each other wait, go on, or ask a lock first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migsim import Task
from migsim.experiment import Claim, Plan
from migsim.fleet.fault_task import FaultTask
from migsim.fleet.handover import Policy
from migsim.registry import names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SETTINGS: dict[str, dict[str, Any]] = {
    # These would go on until the guest dirties less.
    "cloud_hypervisor": {"timeout": "2min", "on_timeout": "ignore"},
    "qemu": {"auto_converge": True, "postcopy_after": "30s", "max_bandwidth": 0},
}
FAULTS: dict[str, dict[str, Any]] = {
    "source crash": {"kind": "source crash"},
    "destination crash": {"kind": "destination crash"},
    "link down for 1 s": {"kind": "link down", "lasts": 1.0},
    "link down for 1 h": {"kind": "link down", "lasts": 3600.0},
}
POLICIES = {
    "wait": Policy(confirm="wait"),
    "resume": Policy(confirm="resume"),
    "fenced": Policy(confirm="fenced"),
}
LOSE = Policy(confirm="fenced", postcopy="lose")
"""What a broken connection meant after the switch before it could be recovered."""

FRACTIONS = 10
STEPS = ("paused", "in flight", "starting", "unacknowledged")
QUICK = ("stop_and_copy", "precopy", "hybrid", "postcopy")


def tasks(plan: Plan) -> list[FaultTask]:
    """Return every fault at every instant under every policy, for each algorithm and seed."""
    chosen = (*(QUICK if plan.quick else names("algorithm")), *plan.algorithms)
    return [
        task
        for seed in range(plan.seeds)
        for name in chosen
        for fault in FAULTS
        for task in _of_fault(name, fault, seed)
    ]


def _of_fault(algorithm: str, fault: str, seed: int) -> list[FaultTask]:
    migration = Task(
        algorithm=algorithm, algorithm_args=SETTINGS.get(algorithm, {}), memory="64MiB",
        workload="hotcold", workload_args={"working_set": "32MiB", "rate": "20MB/s"},
    )  # fmt: skip
    policies = [*POLICIES.values(), *([LOSE] if fault == "link down for 1 h" else [])]
    instants: list[tuple[Any, float]] = [
        *(("whole", (k + 0.5) / FRACTIONS) for k in range(FRACTIONS)),
        *((step, 0.5) for step in STEPS),
    ]
    return [
        FaultTask(
            migration=migration, **FAULTS[fault], within=within, share=share, policy=policy,
            seed=seed, label=fault,
        )
        for policy in policies
        for within, share in instants
    ]  # fmt: skip
