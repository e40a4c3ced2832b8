"""VMware vMotion, as VMware describes it."""

from migsim import Migration
from migsim.units import Count, Fraction, Seconds


def vmotion(
    migration: Migration,
    *,
    switchover: Seconds = 0.5,
    max_rounds: Count = 20,
    progress: Fraction = 0.7,
    max_stun: Fraction = 0.95,
    quick_resume: bool = False,
    preempt: bool = True,
) -> None:
    """Traces, copies iteratively, stuns if need be, and sends the last changes while paused.

    Nelson et al., USENIX ATC 2005, sec. 3; VMware, "vSphere vMotion Architecture, Performance and
    Best Practices" (2011): Stun During Page Send slows the vCPUs when the pages dirtied in a round
    do not shrink to ``progress`` of those sent, so that pages are dirtied more slowly than they
    are sent. Once the rest takes at most ``switchover`` (Broadcom's knowledge base, 436882: a goal
    of 500 ms), the guest is paused, the last set of changes is copied, and the guest resumes at the
    destination. With ``quick_resume``, vSphere 4.1's way for guests that do not converge, it
    resumes before, with the bitmap of what is still dirty, and pages the rest in, demanded pages
    over a connection of their own unless ``preempt`` is off. How VMware chooses the stun is not
    published: ``progress``, ``max_stun`` and ``max_rounds`` are ours.

    It loses where the guest writes all over its memory: it is slowed until it does not.
    """
    dirty = migration.everything
    stun = 0.0
    for _ in range(max_rounds):
        sent = migration.send(dirty)
        dirty = migration.take_dirty()
        if migration.seconds_to_send(dirty) <= switchover:
            break
        if len(dirty) > progress * sent.pages:
            running = (1.0 - stun) * progress * migration.sending_rate / migration.dirty_rate
            stun = min(max_stun, 0.99, max(stun, 1.0 - running))
            migration.throttle(stun)
    migration.pause()
    rest = dirty | migration.take_dirty()
    if quick_resume:
        migration.resume(missing=rest)
        migration.push(preempt=preempt)
    else:
        migration.send(rest)
        migration.resume()
