"""The same task gives the same result on other processors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import python

CODE = """
import json, sys
from migsim import Task, run

common = {"memory": "64MiB", "seed": 3}
lossy = {"link_args": {"rtt": "20ms", "loss": 0.001}}
hot = {"workload": "hotcold", "workload_args": {"rate": "20MB/s", "working_set": "32MiB"}}
tasks = [
    Task(algorithm="precopy", **hot, **lossy, **common),
    Task(algorithm="postcopy", workload="zipf", **lossy, **common),
    Task(algorithm="delta", workload="zipf", workload_args={"rate": "40MB/s"}, **common),
    Task(algorithm="compressed", **hot, **common),
    Task(algorithm="adaptive_compression", **hot, **common),
    Task(algorithm="xbzrle", workload="trace", workload_args={"file": "redis"}, seed=1),
]
print(json.dumps([run(task).as_dict() for task in tasks]))
"""


@pytest.fixture(scope="module")
def here() -> str:
    return python(CODE)


def test_results_do_not_depend_on_what_the_processor_can_do(here: str, tmp_path: Path) -> None:
    """As on a processor without vector units and fused multiply-add, to the last bit."""
    plain = python(
        CODE,
        NUMBA_CPU_NAME="generic",
        NUMBA_CPU_FEATURES="",
        NUMBA_CACHE_DIR=str(tmp_path),
        NPY_DISABLE_CPU_FEATURES="AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
        GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    )
    assert json.loads(plain) == json.loads(here)
