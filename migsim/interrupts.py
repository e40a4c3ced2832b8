"""Ctrl-C, which a terminal sends to every process of a sweep, is the affair of the first alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["interrupts_held"]


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C until the end; a process that starts meanwhile never hears it.

    A terminal sends Ctrl-C to workers too, where it would end in tracebacks; stopping them is the
    sweep's affair, and it can stop only those whose start it has seen the end of.
    """
    resource_tracker.ensure_running()  # where it has to start, it lets Ctrl-C through
    came = False

    def remember(number: int, frame: object) -> None:
        nonlocal came
        came = True

    # The mask is what processes inherit; but other threads have their own, so it is not enough.
    handler = signal.getsignal(signal.SIGINT)
    holds = callable(handler) and threading.current_thread() is threading.main_thread()
    if holds:
        signal.signal(signal.SIGINT, remember)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if holds:
            signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt
