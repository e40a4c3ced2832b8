"""Print how fast the engine is, everything measured side by side in this one run.

``python tests/benchmarks/ratios.py`` takes about a minute. Times are the best of several runs,
taken in turns, after compilation.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import numpy as np  # noqa: E402
import numpy_xbzrle  # noqa: E402
from cases import LARGE, Case, postcopy, replay, versions, xbzrle  # noqa: E402

from migsim import Link  # noqa: E402
from migsim._kernels.xbzrle import encode_pages  # noqa: E402
from migsim.network import Flow  # noqa: E402
from migsim.units import GIB  # noqa: E402

RUNS = 5
ACCESSES = 100_000_000


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def best(*functions: Callable[[], object], runs: int = RUNS) -> list[float]:
    """Return the shortest time of each function; they take turns and share the busy moments."""
    for function in functions:
        function()
    turns = [[seconds(function) for function in functions] for _ in range(runs)]
    return [min(times) for times in zip(*turns, strict=True)]


def peak_mib(code: str) -> float:
    """Return the peak resident memory of a fresh interpreter that runs ``code``.

    As /proc tells it: the figure of getrusage includes what the parent held at the fork.
    """
    code += "\nfor line in open('/proc/self/status'): 'VmHWM' in line and print(line.split()[1])"
    path = os.pathsep.join([str(HERE), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout.split()[-1]) / 1024


def print_line(name: str, value: str, wanted: str = "") -> None:
    print(f"{name:<58} {value:>16}   {wanted}")


def print_replay() -> None:
    for gib in (1, 16):
        (took,) = best(lambda gib=gib: replay(gib * GIB, ACCESSES), runs=3)
        rate = ACCESSES / took / 1e6
        print_line(f"accesses replayed, uniform in {gib} GiB", f"{rate:.0f} M/s", "100 M/s or more")


def print_precopy() -> None:
    cases = {
        "64 GiB, 100 000 writes/s in 16 GiB, 10 Gbit/s": LARGE,
        "64 GiB, 100 000 writes/s in 64 GiB, 10 Gbit/s": Case(64 * GIB, 64 * GIB, 1e5, "10g"),
        "4 GiB, 1 000 000 writes/s in 1 GiB, 10 Gbit/s": Case(4 * GIB, GIB, 1e6, "10g"),
        "1/4 GiB, 10 000 000 writes/s in all of it, 1 Gbit/s": Case(
            GIB // 4, GIB // 4, 1e7, "gigabit", max_rounds=3
        ),
    }
    for name, case in cases.items():
        engine, rival = best(case.engine, case.numpy, runs=3)
        print_line(
            f"pre-copy of {name}", f"{engine:.3f} s", "less than 0.5 s" if case is LARGE else ""
        )
        print_line("  the same in NumPy", f"{rival:.3f} s", f"{rival / engine:.1f} x (10 x wanted)")


def print_xbzrle() -> None:
    (took,) = best(xbzrle, runs=3)
    print_line("XBZRLE of 64 GiB, 100 000 writes/s in it, 10 Gbit/s", f"{took:.3f} s", "under 5 s")
    for words in (1, 10, 100):
        old, new = versions(words, 16_384)
        room, sizes = np.empty(4096, np.uint8), np.empty(len(new), np.int64)
        took, rival = best(
            lambda old=old, new=new, room=room, sizes=sizes: encode_pages(old, new, room, sizes),
            lambda old=old, new=new: numpy_xbzrle.encode(old, new),
        )
        speed, other = new.nbytes / took / 1e9, new.nbytes / rival / 1e9
        print_line(f"XBZRLE of pages with {words} changed words", f"{speed:.2f} GB/s")
        print_line("  the same in NumPy", f"{other:.2f} GB/s", f"{rival / took:.1f} x")


def print_memory() -> None:
    bare = peak_mib("pass")
    small = peak_mib("from migsim import migrate; migrate('precopy', 'uniform', memory='1MiB')")
    large = peak_mib("from cases import LARGE; LARGE.engine()")
    rival = peak_mib("from cases import LARGE; LARGE.numpy()")
    print_line("peak memory of a bare interpreter", f"{bare:.0f} MiB")
    print_line("  of a migration of 1 MiB, numba and NumPy loaded", f"{small - bare:+.0f} MiB")
    print_line("  of the pre-copy of 64 GiB", f"{large - bare:+.0f} MiB", "less than 200 MB")
    print_line("  so for the guest of 64 GiB itself", f"{large - small:+.0f} MiB")
    print_line("  of the same in NumPy", f"{rival - bare:+.0f} MiB")


def print_transfers() -> None:
    for name, link in {
        "64 GiB over 10 Gbit/s, 100 ms, loss 1e-5": Link(rate=1.25e9, rtt=0.1, loss=1e-5),
        "64 GiB over 10 Gbit/s, 100 us, CUBIC": Link(rate=1.25e9, rtt=1e-4),
        "64 GiB over 10 Gbit/s, 100 us, BBR": Link(rate=1.25e9, rtt=1e-4, congestion="bbr"),
    }.items():
        Flow(link, 0.0).transmit(0.0, 10**6)
        (took,) = best(lambda link=link: Flow(link, 0.0).transmit(0.0, 64 * GIB))
        print_line(name, f"{1e3 * took:.1f} ms", "less than 50 ms")


def main() -> None:
    print_replay()
    print_transfers()
    print_precopy()
    (took,) = best(postcopy)
    print_line("post-copy of 16 GiB, 100 000 writes/s in 4 GiB, 10 Gbit/s", f"{took:.3f} s")
    print_xbzrle()
    print_memory()
    command = [sys.executable, "-m", "migsim", "--help"]
    (took,) = best(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, check=True))
    print_line("migsim --help, warm", f"{took:.3f} s", "less than 0.3 s")


if __name__ == "__main__":
    main()
