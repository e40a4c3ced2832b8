"""The ways of migrating that a prediction compares: data, in this one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from migsim.errors import InputError, did_you_mean
from migsim.parameters import Scalar
from migsim.registry import find, names

__all__ = ["HYPERVISORS", "Candidate", "choose"]

_LIMITS = ("downtime_limit", "max_downtime", "switchover", "downtime")
"""What algorithms call the downtime that they are given."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An algorithm with parameters, under the name that operators know.

    Attributes:
        name: what tables call it.
        algorithm: the plug-in.
        arguments: its parameters that differ from the defaults.
        limit: its parameter that takes the downtime limit; empty where its downtime has none.
        bandwidth: its parameter that limits the bandwidth, 0 for no limit; empty where the link is
            all that does.
        note: what to tell of it where it is recommended.
    """

    name: str
    algorithm: str
    arguments: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))
    limit: str = ""
    bandwidth: str = ""
    note: str = ""


def _qemu(
    name: str, note: str = "", *, limit: str = "downtime_limit", **given: Scalar
) -> Candidate:
    # Without a limit of bandwidth, as libvirt starts a migration: the link is what limits it.
    return Candidate(name, "qemu", {"max_bandwidth": 0, **given}, limit, "max_bandwidth", note)


HYPERVISORS: dict[str, tuple[Candidate, ...]] = {
    "qemu": (
        _qemu("pre-copy"),
        _qemu("auto-converge", "capability auto-converge", auto_converge=True),
        _qemu("xbzrle", "capability xbzrle", xbzrle=True),
        _qemu("multifd", "capability multifd, 2 channels", multifd=True),
        _qemu("hybrid", "post-copy started after one pass", postcopy_rounds=1),
        _qemu("post-copy", "post-copy started at once", limit="", postcopy_after=0),
    ),
    "generic": (
        Candidate("pre-copy", "precopy", limit="max_downtime"),
        Candidate("vmotion", "vmotion", limit="switchover", note="stuns the guest if need be"),
        Candidate("xbzrle", "xbzrle", limit="max_downtime"),
        Candidate("multifd", "multifd", limit="max_downtime"),
        Candidate("hybrid", "hybrid", limit="max_downtime", note="post-copy after one round"),
        Candidate("post-copy", "postcopy"),
    ),
}  # fmt: skip
"""By hypervisor; the first of each is plain pre-copy, whose settings are searched."""


def choose(
    hypervisor: str, wanted: tuple[str, ...], given: Mapping[str, str]
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Return plain pre-copy, and the candidates called ``wanted``, or all of the hypervisor's.

    A name that is none of its candidates' is looked up among the algorithms, the user's included.
    ``given`` are parameters for all that have them. Raises `InputError`.
    """
    if hypervisor not in HYPERVISORS:
        raise InputError(
            f"--hypervisor {hypervisor}: there is no such, {did_you_mean(hypervisor, HYPERVISORS)}"
        )
    listed = {candidate.name: candidate for candidate in HYPERVISORS[hypervisor]}
    chosen = [
        listed[name] if name in listed else _of(name, listed)
        for name in dict.fromkeys(wanted or listed)
    ]
    known = set().union(*(_parameters(candidate) for candidate in chosen))
    for name in given:
        if name in _LIMITS:
            raise InputError(f"-a {name}: expected --downtime instead, which sets it")
        if name not in known:
            raise InputError(f"-a {name}: no algorithm has it, {did_you_mean(name, known)}")
    base, *ready = [_with(candidate, given) for candidate in (next(iter(listed.values())), *chosen)]
    return base, tuple(ready)


def _parameters(candidate: Candidate) -> set[str]:
    return {parameter.name for parameter in find("algorithm", candidate.algorithm).parameters}


def _with(candidate: Candidate, given: Mapping[str, str]) -> Candidate:
    own = _parameters(candidate)
    added = {name: value for name, value in given.items() if name in own}
    return replace(candidate, arguments={**candidate.arguments, **added})


def _of(name: str, listed: Mapping[str, Candidate]) -> Candidate:
    known = [*listed, *names("algorithm")]
    if ":" not in name and name not in known:
        raise InputError(f"--algorithm {name}: there is no such, {did_you_mean(name, known)}")
    candidate = Candidate(name, name)
    own = _parameters(candidate)
    return replace(candidate, limit=next((limit for limit in _LIMITS if limit in own), ""))
