"""The exceptions that are told in one sentence, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ConnectionLost", "InputError", "SweepError", "did_you_mean", "last_line"]


class InputError(ValueError):
    """Bad input, told in one sentence that names the place, what came and what was expected.

    The command line prints it without a traceback and ends with exit status 2.
    """


class SweepError(RuntimeError):
    """A sweep ended early, for no fault of the input; what it has finished is kept."""


class ConnectionLost(Exception):  # noqa: N818 - it is told, not programmed wrongly
    """The transport gave up: its last retransmission was in vain.

    Attributes:
        at: when, in seconds of virtual time.
    """

    def __init__(self, at: float) -> None:
        super().__init__(f"the connection was lost at {at:g} s")
        self.at = at


def last_line(text: str) -> str:
    r"""Return the last line of an error, which tells the most of a traceback; "" if there is none.

    >>> last_line("Traceback ...\nValueError: no\n")
    'ValueError: no'
    >>> last_line(" ")
    ''
    """
    return (text.strip().splitlines() or [""])[-1]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a half-sentence that suggests the closest known names, or lists them all.

    >>> did_you_mean("precpy", ["precopy", "postcopy"])
    "did you mean 'precopy'?"
    >>> did_you_mean("xyz", ["b", "a", "b"])
    'known: a, b'
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"known: {', '.join(names)}" if names else "there are none"
