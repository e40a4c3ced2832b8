"""The trivial algorithm, and the teaching example."""

from migsim import Migration


def stop_and_copy(migration: Migration) -> None:
    """Pauses the guest, sends all of it, and lets it go on at the destination.

    Sends each page once, as little as anything does without compression, and has the longest
    downtime (Clark et al., NSDI 2005, sec. 3; Sapuntzakis et al., OSDI 2002).
    """
    migration.pause()
    migration.send(migration.everything)
    migration.resume()
