"""The cases that are measured by more than one: by the benchmarks and by their tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from migsim import Link, Migration, Outcome, VirtualMachine, make_workload, migrate
from migsim._types import Bytes
from migsim.bench import numpy_precopy
from migsim.network import PRESETS
from migsim.units import GIB

__all__ = [
    "LARGE",
    "WRITES_PER_SECOND",
    "Case",
    "postcopy",
    "replay",
    "running",
    "versions",
    "xbzrle",
]

WRITES_PER_SECOND = 1e7
"""Of the guest that only runs."""


@dataclass(frozen=True)
class Case:
    """A pre-copy of a guest that writes uniformly, for the engine and for NumPy."""

    memory: int
    working_set: int
    rate: float
    link: str
    seed: int = 0
    max_downtime: float = 0.3
    max_rounds: int = 30

    def engine(self) -> Outcome:
        """Return what the engine makes of it."""
        return migrate(
            "precopy",
            "uniform",
            self.link,
            memory=self.memory,
            seed=self.seed,
            workload_args={"working_set": self.working_set, "rate": self.rate},
            algorithm_args={"max_downtime": self.max_downtime, "max_rounds": self.max_rounds},
        )

    def numpy(self) -> numpy_precopy.Precopied:
        """Return what NumPy makes of it."""
        return numpy_precopy.precopy(
            VirtualMachine(memory=self.memory),
            Link(**PRESETS[self.link][1]),
            working_set=self.working_set,
            rate=self.rate,
            seed=self.seed,
            max_downtime=self.max_downtime,
            max_rounds=self.max_rounds,
        )


LARGE = Case(64 * GIB, 16 * GIB, 100_000.0, "10g")
"""64 GiB, 16.8 million pages, 100 000 writes a second, 10 Gbit/s."""


def running(working_set: int) -> Migration:
    """Return the handle of a guest that makes 10 million writes a second, all over its memory."""
    vm = VirtualMachine(memory=working_set)
    workload = make_workload("uniform(rate=10M, working_set=100%)", vm, 0)
    return Migration(vm, workload, Link(**PRESETS["10g"][1]))


def replay(working_set: int, accesses: int) -> Migration:
    """Let such a guest make so many writes, and return the handle."""
    migration = running(working_set)
    migration.wait(accesses / WRITES_PER_SECOND)
    return migration


def postcopy() -> Outcome:
    """Post-copy of 16 GiB over 10 Gbit/s, with 100 000 writes a second."""
    return migrate(
        "postcopy", "uniform", "10g", memory=16 * GIB,
        workload_args={"working_set": 4 * GIB, "rate": 1e5},
    )  # fmt: skip


def xbzrle() -> Outcome:
    """XBZRLE of 64 GiB over 10 Gbit/s, with 100 000 writes a second all over it, on sizes."""
    return migrate(
        "xbzrle", "uniform", "10g", memory=64 * GIB,
        workload_args={"working_set": "100%", "rate": 1e5},
    )  # fmt: skip


def versions(words: int, pages: int) -> tuple[Bytes, Bytes]:
    """Return two versions of random pages that differ in all bytes of so many words of each."""
    draw = np.random.default_rng(words)
    old = draw.integers(0, 256, (pages, 4096), np.uint8)
    new = old.copy()
    places = np.argsort(draw.random((pages, 512)), axis=1)[:, :words]
    change = draw.integers(1, 256, (pages, words, 8), np.uint8)
    new.reshape(pages, 512, 8)[np.arange(pages)[:, None], places] ^= change
    return old, new
