"""An idle interactive shell: bash on a terminal of its own, given a command every few seconds.

Usage: idle_shell.py SECONDS
Prints the process number of the shell, to record it with --pid.
"""

from __future__ import annotations

import os
import pty
import select
import sys
import time

COMMANDS = ["ls", "echo $((6 * 7))", "history | tail -n 3", "type cd", "for i in 1 2 3; do :; done"]


def main() -> None:
    """Start the shell, type at it, and throw away what it says."""
    child, terminal = pty.fork()
    if not child:
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    print(child, flush=True)
    start, typed = time.monotonic(), 0
    while (now := time.monotonic() - start) < float(sys.argv[1]):
        if now > 3 * (typed + 1):
            os.write(terminal, COMMANDS[typed % len(COMMANDS)].encode() + b"\n")
            typed += 1
        if select.select([terminal], [], [], 0.2)[0]:
            os.read(terminal, 65536)
    os.write(terminal, b"exit\n")


if __name__ == "__main__":
    main()
