"""What all tests share: hypothesis without deadlines, and kernels that are compiled once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from migsim import Link, migrate
from migsim._jit import kernel_cache_directory
from migsim.network import bulk_transfer
from migsim.registry import names

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session", autouse=True)
def _kernels() -> Iterator[None]:
    """Compile every kernel into the disk cache before the tests; one worker does, others wait."""
    folder = kernel_cache_directory()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for workload in names("workload"):
            migrate("hybrid", workload, memory="256MiB")
        migrate("clairvoyant", "uniform", memory="4MiB")
        for control in ("bbr", "none"):
            link = Link(rate=1e8, rtt=0.01, loss=0.01, congestion=control, outages="0.05s+0.1s")
            bulk_transfer(link, duration=0.2)
    yield
