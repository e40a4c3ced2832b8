"""Fits the constants of a host on the calibration runs: `python -m migsim.validate.fit`.

They are fitted once, for all runs together, and never on the runs that errors are reported of.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
from scipy.stats import theilslopes

from migsim.hypervisor.runs import RecordedRun, read_runs
from migsim.validate.qemu import HOST, RUNS, Host, is_calibration, predict_all

__all__ = ["fit"]

_FAULT_SECONDS = np.geomspace(0.5e-3, 4e-3, 7)
_LOW_READS = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def fit(runs: Sequence[RecordedRun], start: Host) -> Host:
    """Return the constants that suit ``runs`` best; those that no run tells are as in ``start``.

    What a page costs the processors was measured apart, with QEMU's own trace.
    """
    loopback = [run for run in runs if run.link.kind == "loopback"]
    switched = [run for run in loopback if run.switches]
    pace, fixed = _stop_phase([run for run in loopback if not run.switches])
    host = msgspec.structs.replace(
        start,
        setup_seconds=statistics.median(run.measured.setup_seconds for run in runs),
        loopback_rate=float(f"{1 / pace:.3g}"),
        stop_seconds=round(max(0.0, fixed), 4),
        switch_seconds=statistics.median(run.measured.downtime_seconds or 0.0 for run in switched),
    )
    free = [run.measured for run in switched if not run.parameters.get("max-postcopy-bandwidth", 0)]
    pushed = [run.postcopy_bytes / (run.total_seconds - run.postcopy_started_seconds)
              for run in free if run.postcopy_started_seconds is not None]  # fmt: skip
    host = msgspec.structs.replace(host, postcopy_rate=float(f"{statistics.median(pushed):.3g}"))
    plain = [run for run in runs if run.switches and "postcopy-preempt" not in run.capabilities]
    tried = [
        msgspec.structs.replace(host, fault_seconds=float(f"{seconds:.2g}"), low_reads=reads)
        for seconds, reads in product(_FAULT_SECONDS, _LOW_READS)
    ]
    return min(tried, key=lambda one: _request_error(plain, one))


def _stop_phase(runs: Sequence[RecordedRun]) -> tuple[float, float]:
    """Return the seconds of a byte in the stop phase, and those that do not depend on bytes.

    The means of what each collection says: they come from different machines, and that with more
    runs shall not outvote the other. (With multifd the bytes of the stop phase are not known.)
    """
    known = [run for run in runs if run.measured.downtime_bytes and run.measured.downtime_seconds]
    lines = []
    for collection in sorted({run.set for run in known}):
        mine = [run.measured for run in known if run.set == collection]
        seconds = [run.downtime_seconds for run in mine]
        lines.append(theilslopes(seconds, [run.downtime_bytes for run in mine])[:2])
    pace, fixed = np.mean(lines, axis=0)
    return float(pace), float(fixed)


def _request_error(runs: Sequence[RecordedRun], host: Host) -> float:
    """Return the mean error of the numbers of requests, as ratios."""
    ratios = [
        (said.postcopy_requests or 0) / (run.measured.postcopy_requests or 1)
        for run, said in zip(runs, predict_all(runs, host), strict=True)
    ]
    return statistics.fmean(abs(math.log(max(ratio, 1e-3))) for ratio in ratios)


def main() -> None:
    """Fit on the committed calibration runs and write the constants."""
    runs = [run for path in RUNS for run in read_runs(path) if is_calibration(run)]
    host = fit(runs, msgspec.json.decode(HOST.read_bytes(), type=Host))
    text = msgspec.json.format(msgspec.json.encode(host), indent=2)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HOST
    target.write_bytes(text + b"\n")
    print(text.decode())


if __name__ == "__main__":
    main()
