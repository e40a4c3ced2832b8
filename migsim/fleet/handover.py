"""Where a guest runs after a failure: the end of a migration as two host managers see it.

While memory is copied the guest is at the source, and whatever breaks, it runs on there unless the
source itself does. Once the device state has left, the source has to be told that the destination
took over, and a message can be lost: then neither knows what the other did (the two generals'
problem), and what becomes of the guest is a matter of policy. The model is this:

- The source pauses the guest, sends what is left and the device state, and waits for an answer.
- The destination starts the guest as soon as it has the device state, and answers. (QEMU without
  ``-S``, or told to run by the stream as in post-copy: docs/devel/migration in its sources. In
  libvirt's protocol 3 the manager starts it in "Finish" and the source drops or resumes its guest
  in "Confirm", kbase/internals/qemu-migration; the window is the same, and a round trip longer.)
- Messages are TCP's: one that the link loses is sent again after 0.2, 0.4, 0.8 s ... until the
  connection is given up (`migsim.network.client`), but not by a host that has crashed. One that was
  under way when its sender crashed arrives.
- A source that has sent all cannot tell a crash of the destination from a loss of the link. One
  that has not yet can resume in safety: the destination has nothing that it could start. QEMU does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from migsim.errors import InputError
from migsim.network.client import Client
from migsim.network.schedule import parse_outages
from migsim.simulate import Outcome
from migsim.task import ResolvedTask
from migsim.units import Seconds

__all__ = ["Fault", "Phase", "Policy", "Steps", "Where", "after_crash", "after_outage", "steps_of"]

Phase = Literal[
    "connecting", "copying", "paused", "in flight", "starting", "unacknowledged", "post-copy",
    "done", "given up",
]  # fmt: skip
"""``in flight``: the device state has left, and is not there. ``starting``: it is, and the guest
does not run yet. ``unacknowledged``: it runs, and the source does not know."""

Place = Literal["source", "destination"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks in a migration.

    Attributes:
        kind: one of the hosts crashes, or the link between them goes down.
        at: seconds since the start of the migration.
        lasts: seconds for which the link is down; infinite for good.
        times: how often that happens, for a link that flaps.
        up: seconds in between.
    """

    kind: Literal["source crash", "destination crash", "link down"]
    at: Seconds
    lasts: Seconds = math.inf
    times: int = 1
    up: Seconds = 1.0

    def __post_init__(self) -> None:
        if self.kind not in {"source crash", "destination crash", "link down"}:
            raise InputError(
                f"fault: kind is {self.kind}, expected source crash, destination crash or link down"
            )
        for name, most in (("at", math.inf), ("lasts", math.inf), ("up", math.inf)):
            value = getattr(self, name)
            if not 0 <= value <= most or (name != "lasts" and math.isinf(value)):
                raise InputError(f"fault: {name} is {value}, expected 0 s or more")
        if self.times < 1:
            raise InputError(f"fault: times is {self.times}, expected at least 1")

    @property
    def outages(self) -> list[tuple[float, float]]:
        """When the link is down."""
        if self.kind != "link down":
            return []
        starts = [self.at] if math.isinf(self.lasts) else self._starts()
        return [(start, start + self.lasts) for start in starts]

    def _starts(self) -> list[float]:
        return [self.at + number * (self.lasts + self.up) for number in range(self.times)]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What hosts do that do not hear from each other.

    Attributes:
        confirm: what the source does with its paused guest when no answer comes. ``wait``: it is
            left paused until somebody decides: never twice, perhaps nowhere. ``resume``: it runs
            again: never nowhere for that, perhaps twice; libvirt's client takes an answer that was
            lost for a failure, and trusts in a lock manager (from memory of its
            virDomainMigrateVersion3). ``fenced``: that lock. It lies on storage which both reach by
            another way than the link; who wants to run the guest takes it first, once and for all.
        patience: seconds from the last byte until a source that does not wait acts.
        postcopy: what a connection that broke after the switch means. ``recover``: both sides wait,
            and go on over a new one (QEMU's postcopy-paused and migrate-recover, since 2.12 or so,
            from memory); ``lose``: the guest is lost, as in QEMU before.
        broken_after: seconds of an outage after which a connection counts as broken; TCP's by
            default. Libvirt's keep-alive has 30 s (from memory).
    """

    confirm: Literal["wait", "resume", "fenced"] = "fenced"
    patience: Seconds = 30.0
    postcopy: Literal["recover", "lose"] = "recover"
    broken_after: Seconds = Client().patience

    def __post_init__(self) -> None:
        if self.confirm not in {"wait", "resume", "fenced"}:
            raise InputError(f"policy: confirm is {self.confirm}, expected wait, resume or fenced")
        if self.postcopy not in {"recover", "lose"}:
            raise InputError(f"policy: postcopy is {self.postcopy}, expected recover or lose")
        for name in ("patience", "broken_after"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(
                    f"policy: {name} is {getattr(self, name)}, expected more than 0 s, and finite"
                )


@dataclass(frozen=True, kw_only=True)
class Steps:
    """When a migration does what, seconds since its start; infinite for what it does not do.

    Attributes:
        connected: the connection stands.
        paused: the guest is stopped at the source.
        left: the last byte of the device state has left.
        arrives: the destination has it.
        starts: the guest runs there.
        answered: the source knows.
        complete: the last page is there.
        ended: the migration was given up, and the guest stays at the source.
        one_way: seconds that a message takes.
        lacking: pages that follow after the switch.
    """

    connected: float
    paused: float = math.inf
    left: float = math.inf
    arrives: float = math.inf
    starts: float = math.inf
    answered: float = math.inf
    complete: float = math.inf
    ended: float = math.inf
    one_way: float = 0.0
    lacking: int = 0

    def phase_at(self, at: float) -> Phase:
        """Return the phase that instant ``at`` lies in; a phase begins with its first instant."""
        if at >= self.ended:
            return "given up"
        last: Phase = "done" if at >= self.complete else "post-copy"
        borders: list[tuple[float, Phase]] = [
            (self.connected, "connecting"), (self.paused, "copying"), (self.left, "paused"),
            (self.arrives, "in flight"), (self.starts, "starting"),
            (self.answered, "unacknowledged"),
        ]  # fmt: skip
        return next((phase for border, phase in borders if at < border), last)


def steps_of(task: ResolvedTask, outcome: Outcome) -> Steps:
    """Return when the migration that came to ``outcome`` did what."""
    total = outcome.result.total_seconds
    events = list(outcome.timeline)
    connected = events[0].start if events else total
    paused = next((event.start for event in events if event.act == "pause"), math.inf)
    # One whose device state could not be sent has an event, too; then it was given up.
    resume = next((event for event in events if event.act == "resume"), None)
    if resume is None or outcome.result.status == "gave_up":
        return Steps(connected=connected, paused=paused, ended=total, one_way=task.link.one_way)
    wait = task.link.one_way + task.vm.resume_seconds
    left = resume.end if resume.pages else max(resume.start, resume.end - wait)
    starts = left + task.link.one_way + task.vm.resume_seconds
    return Steps(
        connected=connected,
        paused=paused,
        left=left,
        arrives=left + task.link.one_way,
        starts=starts,
        answered=starts + task.link.one_way,
        complete=math.inf if outcome.result.status == "lost" else max(total, starts),
        one_way=task.link.one_way,
        lacking=resume.pages,
    )


@dataclass(frozen=True)
class Where:
    """What became of the guest.

    Attributes:
        runs_at: the hosts at which it runs: one, none, or both.
        lost: whether its memory is gone; where it runs nowhere and is not lost, it stands paused
            at the source until somebody decides.
        reason: how that came, in one sentence.
    """

    runs_at: tuple[Place, ...]
    lost: bool
    reason: str


_LOST: tuple[Place, ...] = ()


def after_crash(steps: Steps, fault: Fault, policy: Policy, missing: int) -> Where:
    """Return where the guest runs after one of the hosts has crashed.

    ``missing`` pages are not at the destination at that time. Raises `InputError` for a patience
    that would not let a migration without a failure end.
    """
    phase = steps.phase_at(fault.at)
    at_source = phase in {"connecting", "copying", "paused", "given up"}
    if fault.kind == "source crash":
        return _without_source(steps, fault, missing, at_source)
    if at_source:
        return Where(
            ("source",), False, f"the destination crashed ({phase}); the source had the guest"
        )
    if phase in {"in flight", "starting"}:
        return _unanswered(
            steps, policy, starts=math.inf, answered=math.inf,
            why="the destination crashed before it had started the guest",
        )  # fmt: skip
    # Its answer was under way or there, so the source has dropped its copy, or will: whatever the
    # policy, what the guest has done since is gone.
    return Where(_LOST, True, f"the destination crashed ({phase}), where the guest ran")


def _without_source(steps: Steps, fault: Fault, missing: int, at_source: bool) -> Where:
    phase = steps.phase_at(fault.at)
    if at_source:
        return Where(_LOST, True, f"the source crashed ({phase}), which had the guest")
    # What has left before the crash arrives.
    if missing and steps.complete - steps.one_way > fault.at:
        return Where(
            _LOST, True, f"the source crashed ({phase}) with {missing} pages of the guest's memory"
        )
    return Where(
        ("destination",), False, f"the source crashed ({phase}); the destination had all it needs"
    )


def after_outage(
    steps: Steps, outages: list[tuple[float, float]], policy: Policy, *, whole: bool
) -> Where:
    """Return where the guest runs after a migration over a link that was down at times.

    ``steps`` are those of the migration with its outages; ``whole`` tells whether all pages have
    reached the destination in the end. Raises `InputError` as `after_crash` does.
    """
    if steps.ended < math.inf:
        return Where(("source",), False, "the migration was given up; the source had the guest")
    arrives = _delivered(steps.left, steps.one_way, outages)
    starts = arrives + (steps.starts - steps.arrives)
    answered = _delivered(starts, steps.one_way, outages)
    lost = "its device state" if math.isinf(arrives) else "the destination's answer"
    late = "lost" if math.isinf(answered) else "late"
    where = _unanswered(steps, policy, starts, answered, f"{lost} was {late}")
    if where.runs_at != ("destination",):
        return where
    if not whole:
        return Where(_LOST, True, "the link did not come back, and the destination lacks pages")
    broken = _longest_down(outages, steps.left, steps.complete) > policy.broken_after
    if steps.lacking and policy.postcopy == "lose" and broken:
        return Where(_LOST, True, "the connection broke while the destination lacked pages")
    return where


def _unanswered(steps: Steps, policy: Policy, starts: float, answered: float, why: str) -> Where:
    """Return who runs the guest, given when it starts at the destination and the source knows."""
    needed = steps.answered - steps.left
    if policy.confirm != "wait" and policy.patience <= needed:
        raise InputError(
            f"policy: patience is {policy.patience} s, expected more than the {needed:g} s that "
            "the answer takes in this migration without a failure"
        )
    acts = math.inf if policy.confirm == "wait" else steps.left + policy.patience
    here, there = acts < answered, starts < math.inf
    if policy.confirm == "fenced" and here and there:
        here, there = acts < starts, acts >= starts  # whoever comes first has the lock
    if here and there:
        return Where(
            ("source", "destination"), False,
            f"{why}, so the source resumed the guest, which the destination started, too",
        )  # fmt: skip
    if here:
        return Where(("source",), False, f"{why}; the source resumed the guest")
    if there and answered <= acts:
        return Where(("destination",), False, "the destination took over and the source knows")
    if there:
        return Where(("destination",), False, f"{why}; the source left its copy paused")
    return Where((), False, f"{why}; the source left the guest paused, until somebody decides")


def _delivered(sent: float, one_way: float, outages: list[tuple[float, float]]) -> float:
    """Return when a message arrives that is sent again as long as the link loses it."""
    if math.isinf(sent):
        return sent
    for wait in Client(rtt=2.0 * one_way).attempts():
        left, arrives = sent + wait, sent + wait + one_way
        if not any(begins < arrives and left < ends for begins, ends in outages):
            return arrives
    return math.inf


def _longest_down(outages: list[tuple[float, float]], since: float, until: float) -> float:
    """Return the longest outage between two instants, in seconds."""
    spans = [min(ends, until) - max(begins, since) for begins, ends in outages]
    return max([0.0, *spans])


def outages_of(task: ResolvedTask, fault: Fault) -> list[tuple[float, float]]:
    """Return when the link is down, by itself or by the fault."""
    return [*parse_outages(task.link.outages), *fault.outages]
