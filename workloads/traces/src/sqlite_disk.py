"""Records what a bank in an SQLite database writes to its files, as a trace of a disk.

Usage: sqlite_disk.py OUTPUT.mtrace ACCOUNTS TRANSACTIONS_PER_SECOND SECONDS
The load is that of sqlite_load.py with the database in a file, a write-ahead log and
synchronous=FULL: each transaction is on the disk when it returns, as on a server. strace tells
offset, length and time of each write; a page of the trace is one of 4 KiB of the database or,
behind the most that the database grew to, of the log.
"""

from __future__ import annotations

import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np
from sqlite_load import build, transfer  # type: ignore[import-not-found]  # beside this file

from migsim.trace.format import Trace, write_trace

PAGE = 4096
INTERVAL = 0.01
WRITE = re.compile(
    r"(?P<time>[0-9.]+) pwrite64\(\d+<.*bank\.db(?P<log>-wal)?>, .* (?P<size>\d+), (?P<at>\d+)\) ="
)


def serve(folder: Path, accounts: int, rate: float, seconds: float) -> None:
    """Do transactions at the rate for so long, on a database that is there."""
    db, draw = sqlite3.connect(folder / "bank.db", isolation_level=None), Random(2)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    start, done = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        for _ in range(int((time.monotonic() - start) * rate) - done):
            transfer(db, draw, accounts)
            done += 1
        time.sleep(0.001)


def trace_of(writes: list[tuple[float, bool, int, int]], size: int) -> Trace:
    """Return the trace of writes (seconds, to the log, offset, bytes), database of ``size``."""
    end = max([size, *(at + length for _, log, at, length in writes if not log)])
    behind = -(-end // PAGE)
    count = int(writes[-1][0] / INTERVAL) + 1
    sets: list[set[int]] = [set() for _ in range(count)]
    for when, log, at, length in writes:
        first = at // PAGE + (behind if log else 0)
        last = (at + length - 1) // PAGE + (behind if log else 0)
        sets[int(when / INTERVAL)] |= set(range(first, last + 1))
    pages = [np.array(sorted(one), np.uint32) for one in sets]
    total = max(behind, *(int(one[-1]) + 1 for one in pages if one.size))
    return Trace(
        ends=np.arange(1, count + 1, dtype=np.float64) * INTERVAL,
        counts=np.array([one.size for one in pages], np.uint32),
        pages=np.concatenate(pages),
        resident=np.arange(size // PAGE, dtype=np.uint32),
        pages_total=total,
        meta={
            "method": "strace", "argv": sys.argv[1:], "interval": INTERVAL,
            "date": time.strftime("%Y-%m-%d"), "kernel": platform.release(),
            "machine": platform.machine(),
        },
    )  # fmt: skip


def record(output: Path, accounts: int, rate: float, seconds: float) -> None:
    """Build the bank, serve it under strace, and write what was seen."""
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        folder = Path(name)
        build(accounts).execute(f"VACUUM INTO '{folder / 'bank.db'}'")
        size = (folder / "bank.db").stat().st_size
        listing = folder / "strace.txt"
        command = [
            "strace", "-f", "-y", "-ttt", "-s", "0", "-e", "trace=pwrite64", "-o", str(listing),
            sys.executable, __file__, "serve", name, str(accounts), str(rate), str(seconds),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        found = [match for line in listing.open() if (match := WRITE.search(line))]
    start = float(found[0]["time"])
    writes = [
        (float(one["time"]) - start, bool(one["log"]), int(one["at"]), int(one["size"]))
        for one in found
    ]
    write_trace(output, trace_of(writes, size))


def main() -> None:
    """Record, or be recorded."""
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
    else:
        record(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))


if __name__ == "__main__":
    main()
