"""The bound: an algorithm that knows what the guest will write."""

from migsim import Migration


def clairvoyant(migration: Migration) -> None:
    """Knows all future accesses: no algorithm that sends whole pages has less of anything.

    It sends each page once, keeps the link busy from the first to the last byte, and pauses only
    for the device state; so total time, downtime and bytes are the least possible. First go the
    pages that will not be written before the switch-over, which comes when there are no more of
    them; the rest follows in the order in which the guest will touch it. Bitmap and requests are
    not sent: both hosts know the future. What the guest waits for pages is small, not least. And
    where the guest writes to zero pages before the switch, waiting costs their bytes: there an
    algorithm that pauses earlier can send less. Nor is downtime the least for guests so small that
    they are copied in less than ``resume_seconds``.
    """
    everything = migration.everything
    early, late = 0.0, migration.exact_seconds_to_send(everything)
    # Some pages are kept for the time in which the guest resumes, so that the link has work then.
    last_call = migration.now + late - migration.link.rtt - migration.vm.resume_seconds
    quiet = everything - migration.future_writes(late)
    while late - early > 1e-3 * late:
        moment = (early + late) / 2
        candidates = everything - migration.future_writes(moment)
        if migration.exact_seconds_to_send(candidates) <= moment:
            late, quiet = moment, candidates
        else:
            early = moment
    sent = migration.send(quiet, until=last_call)
    rest = everything - quiet | sent.left
    migration.pause()
    order = migration.future_order(rest, 2 * migration.exact_seconds_to_send(rest))
    migration.resume(missing=rest, announce=False)
    migration.push(order=order, prepaging="none", demand=False)
