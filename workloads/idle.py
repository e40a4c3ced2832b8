"""A guest that touches nothing."""

from migsim import Steady, VirtualMachine, Workload


def idle(vm: VirtualMachine, seed: int) -> Workload:
    """Touches no memory: the trivial workload, and the least that any migration costs."""
    return Steady(pages=0, rate=0.0, read_fraction=0.0, draw=lambda first, pages: None)
