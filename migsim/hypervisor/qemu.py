"""One QEMU: which versions may run which way, its command line, and its process."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from migsim.errors import InputError
from migsim.hypervisor.guest import Kit
from migsim.hypervisor.processes import end, read_tail, start, tool
from migsim.hypervisor.qmp import Qmp, QmpError
from migsim.hypervisor.runs import GuestLoad
from migsim.hypervisor.scenario import FILL, Scenario
from migsim.units import MIB

__all__ = ["Accel", "Machine", "Program", "find_program", "guest_words", "machine", "pick_accel"]

Accel = Literal["tcg", "kvm"]

_OLDEST_TCG = 9


class Program(NamedTuple):
    """The QEMU of this system."""

    path: str
    version: str

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.partition(".")[0])


def find_program(path: str | None = None) -> Program:
    """Return the QEMU to run and its version."""
    found = path or tool("qemu-system-x86_64", "qemu-system-x86")
    try:
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"{found} --version: {error}, expected QEMU") from None
    version = re.search(r"version (\d+\.\d+(?:\.\d+)?)", told.stdout)
    if version is None:
        raise InputError(f"{found} --version: got {told.stdout[:60]!r}, expected QEMU")
    return Program(found, version[1])


def pick_accel(wanted: str, program: Program, kit: Kit) -> Accel:
    """Return the accelerator; ``auto`` is KVM where it runs our guest, and TCG otherwise.

    Raises `InputError` for TCG of a QEMU that is too old: a bitmap sync there leaves pages
    writable in the software TLB, so that later writes are never seen and never sent.
    """
    if wanted == "kvm" or (wanted == "auto" and kvm_works(program, kit)):
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise InputError("accel: got 'kvm', and /dev/kvm cannot be opened, expected 'tcg'")
        return "kvm"
    if program.major < _OLDEST_TCG:
        raise InputError(
            f"QEMU {program.version} without KVM loses dirty pages, expected QEMU "
            f"{_OLDEST_TCG} or later (Debian 12: qemu-system-x86 of bookworm-backports) or KVM"
        )
    return "tcg"


def kvm_works(program: Program, kit: Kit) -> bool:
    """Return whether a guest of ours starts under KVM; nested, /dev/kvm may be there in vain.

    Tried once per boot and version of QEMU; the answer is kept beside the kit.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    answer = kit.initramfs.parent / f"kvm-{program.version}-{boot}"
    if answer.exists():
        return answer.read_text(encoding="ascii") == "works\n"
    tiny = Scenario(name="kvm", memory=192 * MIB, workload=GuestLoad(kind="idle", working_set=MIB))
    with tempfile.TemporaryDirectory(prefix="migsim-") as scratch:
        try:
            with machine(program, "kvm", kit, tiny, Path(scratch), "kvm") as guest:
                guest.wait_until_ready(10)
            works = True
        except (InputError, RuntimeError):
            works = False
    with contextlib.suppress(OSError):  # tried anew next time
        answer.write_text("works\n" if works else "fails\n", encoding="ascii")
    return works


class Machine(NamedTuple):
    """A running QEMU.

    Attributes:
        serial: the file with what the guest prints.
    """

    process: subprocess.Popen[bytes]
    qmp: Qmp
    serial: Path
    errors: Path

    def wait_until_ready(self, patience: float) -> None:
        """Return when the guest has filled its memory. Raises `RuntimeError` where it does not."""
        deadline = time.monotonic() + patience
        while "READY" not in self.printed():
            if self.process.poll() is not None:
                # Where the guest's kernel panics, QEMU itself has nothing to say.
                told = read_tail(self.errors) or read_tail(self.serial)
                raise RuntimeError(f"QEMU ended: {told}")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the guest was not ready after {patience:g} s: {read_tail(self.serial)}"
                )
            time.sleep(0.1)

    def printed(self) -> str:
        """Return what the guest has printed so far."""
        return self.serial.read_text(encoding="utf-8", errors="replace")


@contextmanager
def machine(
    program: Program,
    accel: Accel,
    kit: Kit,
    scenario: Scenario,
    folder: Path,
    tag: str,
    prefix: Sequence[str] = (),
    incoming: bool = False,
) -> Iterator[Machine]:
    """Run one QEMU of a scenario; ``tag`` names its files in the folder."""
    serial, socket, errors = (folder / f"{tag}.{kind}" for kind in ("serial", "qmp", "errors"))
    serial.touch()
    command = [
        *prefix, program.path,
        "-machine", f"q35,accel={accel}",
        # Under TCG `max` has been seen to kill migrated guests when they restore their FPU.
        "-cpu", "host" if accel == "kvm" else "qemu64",
        "-smp", str(scenario.vcpus),
        "-m", f"{scenario.memory // MIB}M",
        "-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot",
        "-serial", f"file:{serial}",
        "-qmp", f"unix:{socket},server=on,wait=off",
        "-kernel", str(kit.kernel),
        "-initrd", str(kit.initramfs),
        "-append", f"console=ttyS0 quiet panic=1 {guest_words(scenario.workload)}",
        *(("-incoming", "defer") if incoming else ()),
    ]  # fmt: skip
    with errors.open("wb") as log:
        process = start(command, log)
    try:
        qmp = _connect(process, socket, errors)
        try:
            yield Machine(process, qmp, serial, errors)
        finally:
            qmp.close()
    finally:
        end(process)


def _connect(process: subprocess.Popen[bytes], socket: Path, errors: Path) -> Qmp:
    for _ in range(400):
        if process.poll() is not None:
            raise RuntimeError(f"QEMU ended: {read_tail(errors)}")
        if socket.exists():
            break
        time.sleep(0.05)
    try:
        return Qmp(socket)
    except QmpError as error:  # it opens the socket before it looks at the rest of its options
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        raise RuntimeError(f"{error}: {read_tail(errors)}") from None


def guest_words(load: GuestLoad) -> str:
    """Return the load as words of the guest's command line.

    >>> guest_words(GuestLoad(kind="uniform", rate=2000.0))
    'd.wss=64 d.fill=64 d.rate=2000 d.bytes=4096 d.pat=uniform'
    """
    words = {
        "wss": f"{load.working_set // MIB}",
        "fill": f"{FILL // MIB}",
        "rate": f"{load.rate:.10g}" if load.kind != "idle" else "0",
        "bytes": f"{load.write_bytes}",
        "pat": "seq" if load.kind == "sequential" else load.kind,
    }
    if load.kind == "hotcold":
        words |= {"hot": f"{load.hot_fraction:.10g}", "hotp": f"{load.hot_probability:.10g}"}
    return " ".join(f"d.{key}={value}" for key, value in words.items())
