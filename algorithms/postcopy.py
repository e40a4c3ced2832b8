"""Post-copy: move the processor first, memory later."""

from migsim import Migration
from migsim.destination import Prepaging


def postcopy(
    migration: Migration, *, prepaging: Prepaging = "bubble", preempt: bool = True
) -> None:
    """Switches over at once; pages follow by demand paging beside a background push.

    Hines and Gopalan, VEE 2009: each page is sent once, downtime does not depend on the memory,
    and the guest pays with faults. ``prepaging`` says where the push goes on after a fault.
    ``preempt`` gives demanded pages a connection of their own (QEMU 7.1); without it they wait
    behind what the sockets hold.
    """
    migration.pause()
    migration.resume(missing=migration.everything)
    migration.push(prepaging=prepaging, preempt=preempt)
