"""A second process that compiles what the first migration after installation needs next.

Guest and source are one kernel, the network is another, and each takes seconds to compile: so
where there are two processors, both are made at the same time. Whichever of the two processes gets
to a kernel first makes it; the other waits for that and loads it (`KernelFiles.alone`).

Run as a program, this is that second process.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading

from migsim._jit import before_compiling
from migsim._kernels.guest import GuestSets, fold_writes
from migsim.accesses import AccessWindow
from migsim.build import make_workload
from migsim.machine import VirtualMachine
from migsim.network import Flow, Link
from migsim.network.link import Congestion
from migsim.pages import Pages

__all__ = ["compile_ahead", "make_guest_kernels", "make_network_kernels"]


def compile_ahead(link: Link, workload: str) -> None:
    """Start the second process once it turns out that this one has to compile kernels.

    It makes those of a connection over ``link`` and of a guest that runs ``workload``; nothing
    depends on it but when they are ready.
    """
    if not link.plain and len(os.sched_getaffinity(0)) > 1 and sys.executable:
        before_compiling(lambda: _start(link.congestion, str(link.loss), workload))


def make_network_kernels(congestion: Congestion = "cubic", loss: float = 0.5) -> None:
    """Compile the kernels of a connection, or load them: those that pause it, too."""
    flow = Flow(Link(rate=1e6, rtt=1e-3, congestion=congestion, loss=loss), 0.0)
    flow.begin(flow.transmit(0.0, 10**5) + 1.0)


def make_guest_kernels(workload: str) -> None:
    """Compile what draws a guest's accesses and what its sets of pages need."""
    AccessWindow(make_workload(workload, VirtualMachine(), 0)).move(0, 1)
    fold_writes(GuestSets(*(Pages.none(1).bits for _ in range(6))))
    pages = Pages.of([0], size=1)
    len((pages | pages).copy())


def _start(*arguments: str) -> None:
    path = os.pathsep.join(sys.path)  # so that it finds the same migsim
    try:
        helper = subprocess.Popen(
            [sys.executable, "-P", "-m", "migsim.compile_ahead", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return  # all is compiled here, then

    def end() -> None:
        with helper:  # closes the pipe and waits
            helper.kill()

    atexit.register(end)


def _end_with_parent() -> None:
    """End this process once the other end of its standard input is gone."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    make_network_kernels(sys.argv[1], float(sys.argv[2]))  # type: ignore[arg-type]
    make_guest_kernels(sys.argv[3])
