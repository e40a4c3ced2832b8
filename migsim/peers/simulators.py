"""The rules by which simulators of clouds migrate a virtual machine."""

from __future__ import annotations

from migsim.peers.case import Case, Forecast

__all__ = [
    "camig",
    "cloudsim",
    "cloudsim_mig",
    "cloudsim_plain",
    "cloudsim_plus",
    "dcsim",
    "dissect_cf",
    "dslab",
]

_REST = 256 * 1024  # bytes that DISSECT-CF copies with the guest paused


def cloudsim(case: Case) -> Forecast:
    """CloudSim, Cloudslab/cloudsim@476ceef, PowerDatacenter: half the bandwidth migrates.

    The guest runs on meanwhile, at 90 % of its speed; it dirties nothing and never stands still.
    """
    return Forecast(seconds=case.memory / (0.5 * case.rate))


def cloudsim_plain(case: Case) -> Forecast:
    """CloudSim, Cloudslab/cloudsim@476ceef, PowerDatacenterNonPowerAware: 10 s on top."""
    return Forecast(seconds=case.memory / case.rate + 10.0)


def cloudsim_plus(case: Case, *, share: float = 0.5) -> Forecast:
    """CloudSim Plus, cloudsimplus/cloudsimplus@017b5a2, DatacenterSimple.timeToMigrateVm.

    ``share`` of the bandwidth is for migrations (DEF_BW_PERCENT_FOR_MIGRATION).
    """
    return Forecast(seconds=case.memory / (share * case.rate))


def dcsim(case: Case) -> Forecast:
    """DCSim, digs-uwo/dcsim@753fcba: a quarter of the bandwidth migrates."""
    return Forecast(seconds=case.memory / (0.25 * case.rate))


def dslab(case: Case) -> Forecast:
    """DSLab IaaS, osukhoroslov/dslab@a6c155e: the memory once."""
    return Forecast(seconds=case.memory / case.rate)


def cloudsim_mig(
    case: Case, *, compression: float = 1.0, most_rounds: int = 30, most_downtime: float = 0.5,
    overhead: float = 0.05,
) -> Forecast:  # fmt: skip
    """CloudSimMig, hetianzhang/CloudSimMig@b98cfcc, SDNDatacenter (He, Toosi, Buyya, JSS 2021).

    Pre-copy at a constant dirty rate, until the next round would take less than ``most_downtime``
    or is larger than the last one, or ``most_rounds`` are exceeded; ``overhead`` seconds before
    and after. Its code sets ``compression`` to 0.8 for all guests; here nothing compresses.
    """
    sent = size = case.memory * compression
    for done in range(1, most_rounds + 2):
        dirty = case.dirty_rate * compression * size / case.rate
        rounds = done
        if dirty > size or dirty / case.rate < most_downtime:
            break
        if done <= most_rounds:
            sent += dirty
            size = dirty
    sent += dirty
    return Forecast(
        seconds=sent / case.rate + 2.0 * overhead,
        downtime=dirty / case.rate,
        sent=sent,
        rounds=rounds,
        converged=True,
    )


def camig(
    case: Case, *, compression: float = 1.0, most_rounds: int = 30, most_downtime: float = 0.5
) -> Forecast:
    """CAMIG, hetianzhang/CAMIG@223f1ed, getVmMigrationTime.

    Takes for dirty in each round what was dirtied since the migration began, not since the last
    round: it never gets less.
    """
    seconds, size, rounds = 0.0, case.memory * compression, 0
    while size / case.rate > most_downtime and rounds < most_rounds:
        seconds += size / case.rate
        size = case.dirty_rate * compression * seconds
        rounds += 1
    return Forecast(
        seconds=seconds + size / case.rate,
        downtime=size / case.rate,
        sent=(seconds + size / case.rate) * case.rate,
        rounds=rounds,
        converged=True,
    )


def dissect_cf(case: Case, *, most_rounds: int = 5) -> Forecast:
    """DISSECT-CF, kecskemeti/dissect-cf@2d0b4b7, VirtualMachine.MigrationEvent.

    At most ``most_rounds`` copies of what was dirtied, a constant rate up to the memory of the
    tasks (here the working set), then one with the guest paused, or that as soon as less than 256
    KiB is left.
    """
    sizes = [float(case.memory)]
    for _ in range(most_rounds + 1):
        sizes.append(min(case.dirty_rate * sizes[-1] / case.rate, case.working_set))
        if sizes[-1] < _REST:
            break
    return Forecast(
        seconds=sum(sizes) / case.rate,
        downtime=sizes[-1] / case.rate,
        sent=sum(sizes),
        rounds=len(sizes) - 1,
        converged=True,
    )
