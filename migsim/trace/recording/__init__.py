"""Recording which pages a running program writes, on Linux and without special rights."""

from migsim.trace.recording.recorder import record

__all__ = ["record"]
