"""Reading recorded migrations, whichever of the known formats a file has."""

from __future__ import annotations

from pathlib import Path

from migsim.errors import InputError
from migsim.hypervisor.guestperf import parse_report
from migsim.hypervisor.runs import RecordedRun, read_runs

__all__ = ["load_runs"]

_REPORT_KEYS = ("progress_history", "guest_timings")


def load_runs(path: Path) -> list[RecordedRun]:
    """Return the runs of a file of JSON Lines, or the one of a report of QEMU's guestperf.

    A report is known by keys that no recorded run has. Raises `InputError` that names file and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if any(f'"{key}"' in text for key in _REPORT_KEYS):
        return [parse_report(text, path)]
    return read_runs(path)
