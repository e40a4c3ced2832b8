"""The pieces of the guest: its archive, its kernel, its command line."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from migsim.errors import InputError
from migsim.hypervisor import guest
from migsim.hypervisor.guest import Kit, build, newc_archive, unpack_kernel
from migsim.hypervisor.links import _wait_for_namespace, netem_commands, queue_bytes
from migsim.hypervisor.processes import cleaning_up
from migsim.hypervisor.qemu import Program, find_program, guest_words, machine, pick_accel
from migsim.hypervisor.runs import GuestLoad, MigrationPath
from migsim.hypervisor.scenario import Scenario
from migsim.units import KIB, MIB

compiled = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read an archive as the kernel's documentation of initramfs says."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        content = (at + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[content : content + size])
        at = (content + size + 3) // 4 * 4


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1000])
def test_the_archive_holds_what_it_was_given(size: int) -> None:
    files = {"init": (0o100755, os.urandom(size)), "etc": (0o40755, b""), "a/b": (0o100644, b"hi")}
    archive = newc_archive(files)
    assert entries(archive) == files
    assert len(archive) % 4 == 0


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio")
def test_cpio_reads_the_archive(tmp_path: Path) -> None:
    archive = newc_archive({"init": (0o100755, b"#!/bin/sh\n"), "note": (0o100644, b"abc")})
    subprocess.run(["cpio", "-i"], input=archive, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "note").read_bytes() == b"abc"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755


@compiled
def test_the_kit_is_built_once(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz-6.1.0-9"
    kernel.write_bytes(b"kernel")
    kit = build(tmp_path / "cache", kernel)
    assert (kit.kernel, kit.kernel_version) == (kernel, "6.1.0-9")
    archive = entries(gzip.decompress(kit.initramfs.read_bytes()))
    assert archive["init"][1][:4] == b"\x7fELF"
    assert os.access(kit.relay, os.X_OK)
    before = kit.initramfs.stat().st_mtime_ns
    assert build(tmp_path / "cache", kernel) == kit
    assert kit.initramfs.stat().st_mtime_ns == before
    assert kit.guest_version in kit.initramfs.name


@compiled
def test_the_relay_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.touch()
    relay = str(build(tmp_path, kernel).relay)
    for arguments in (["a"], ["a", "b", "speed=1"], ["a", "b", "rate"]):
        done = subprocess.run([relay, *arguments], capture_output=True, check=False)
        assert done.returncode == 2


def test_the_newest_cloud_kernel_is_taken(tmp_path: Path) -> None:
    for name in ("vmlinuz-6.1.0-9-cloud-amd64", "vmlinuz-6.1.0-56-cloud-amd64", "vmlinuz-6.9.0"):
        (tmp_path / name).touch()
    found = guest._installed_kernel(tmp_path)
    assert found is not None
    assert found.name == "vmlinuz-6.1.0-56-cloud-amd64"


def test_missing_tools_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such file, expected a kernel image"):
        build(tmp_path, tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="found no gcc, expected apt's gcc"):
        guest._compiled(tmp_path, "guest.c", ())
    with pytest.raises(InputError, match="no apt-get to download one, expected --kernel FILE"):
        guest._download_kernel(tmp_path)
    with pytest.raises(InputError, match="expected Debian's package qemu-system-x86"):
        find_program()


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
def test_a_kernel_comes_out_of_a_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in ("DEBIAN", "boot"):
        (tree / folder).mkdir(parents=True)
    control = "Package: k\nVersion: 1\nArchitecture: all\nMaintainer: m <m@m>\nDescription: k\n"
    (tree / "DEBIAN" / "control").write_text(control)
    (tree / "boot" / "vmlinuz-6.1").write_bytes(b"kernel")
    archive = tmp_path / "k.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(archive)], check=True, capture_output=True)
    assert unpack_kernel(archive, tmp_path).read_bytes() == b"kernel"
    with pytest.raises(InputError, match="dpkg -x"):
        unpack_kernel(tmp_path / "none.deb", tmp_path)


def test_the_command_line_of_the_guest() -> None:
    load = GuestLoad(
        kind="hotcold", working_set=128 * MIB, rate=1234567.0, write_bytes=64,
        hot_fraction=0.1, hot_probability=0.9,
    )  # fmt: skip
    assert guest_words(load) == (
        "d.wss=128 d.fill=64 d.rate=1234567 d.bytes=64 d.pat=hotcold d.hot=0.1 d.hotp=0.9"
    )
    assert "d.rate=0 " in guest_words(GuestLoad(kind="idle", rate=5.0))
    assert "d.pat=seq" in guest_words(GuestLoad(kind="sequential", rate=5.0))


def fake_qemu(folder: Path, version: str) -> str:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version} (Debian 1:{version})'\n")
    path.chmod(0o755)
    return str(path)


KIT = Kit(Path("vmlinuz-1"), Path("guest-1.cpio.gz"), Path("relay-1"))


def test_emulation_before_qemu_9_is_refused(tmp_path: Path) -> None:
    old = find_program(fake_qemu(tmp_path, "7.2.22"))
    assert (old.version, old.major) == ("7.2.22", 7)
    with pytest.raises(InputError, match=r"^QEMU 7\.2\.22 without KVM loses dirty pages, expected"):
        pick_accel("tcg", old, KIT)
    assert pick_accel("tcg", Program("qemu", "9.0.0"), KIT) == "tcg"


def test_kvm_is_taken_with_any_version_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migsim.hypervisor.qemu.os.access", lambda *_: True)
    monkeypatch.setattr("migsim.hypervisor.qemu.kvm_works", lambda *_: True)
    assert pick_accel("auto", Program("qemu", "7.2.0"), KIT) == "kvm"
    monkeypatch.setattr("migsim.hypervisor.qemu.kvm_works", lambda *_: False)
    assert pick_accel("auto", Program("qemu", "10.0.0"), KIT) == "tcg"
    monkeypatch.setattr("migsim.hypervisor.qemu.os.access", lambda *_: False)
    with pytest.raises(InputError, match="/dev/kvm cannot be opened"):
        pick_accel("kvm", Program("qemu", "10.0.0"), KIT)


def test_what_is_no_qemu_is_told(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "other").chmod(0o755)
    with pytest.raises(InputError, match=r"got 'hello\\n', expected QEMU"):
        find_program(str(tmp_path / "other"))
    with pytest.raises(InputError, match="expected QEMU"):
        find_program(str(tmp_path / "none"))


def test_a_link_of_the_kernel_has_one_element_per_device() -> None:
    link = MigrationPath(kind="emulated", rate=200e6, rtt=0.05, loss=0.001)
    elements = [
        (place, " ".join(command[command.index("root") + 1 :]))
        for place, command in netem_commands(link)
        if command[0] == "tc"
    ]
    rate = "tbf rate 200000000bit burst 25000 limit 1250000 overhead 24"
    delay = "netem delay 25000us limit 19765 loss 0.1%"
    assert elements == [(1, rate), (2, delay), (2, rate), (1, delay)]
    assert queue_bytes(MigrationPath(kind="emulated", rate=1e6, rtt=0.01)) == 256 * KIB
    assert queue_bytes(MigrationPath(kind="emulated", rate=1e9, rtt=0.1, queue=5000)) == 5000


HARNESS = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
static double clock_now;
static int fake_gettime(clockid_t which, struct timespec *time)
{
    if (clock_now > 3 && clock_now < 13) clock_now += 10; /* the pause */
    if (clock_now > 20) exit(0);
    *time = (struct timespec){(time_t)clock_now, (long)((clock_now - (time_t)clock_now) * 1e9)};
    return 0;
}
static int fake_sleep(const struct timespec *time, struct timespec *left)
{
    clock_now += 1e-9 * time->tv_nsec;
    return 0;
}
#define clock_gettime fake_gettime
#define nanosleep fake_sleep
#define main guest_main
#include "guest.c"
#undef main
int main(void)
{
    strcpy(command_line, "d.wss=1 d.rate=1000 d.bytes=8 d.pat=uniform");
    dirty(filled(256), 256);
}
"""


@compiled
def test_the_guest_counts_what_it_has_written(tmp_path: Path) -> None:
    """After a pause of 10 s it does not catch up, and does not say so either."""
    (tmp_path / "harness.c").write_text(HARNESS)
    command = ["gcc", "-D_GNU_SOURCE", "-I", str(guest._SOURCES), "-o", "harness", "harness.c"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    told = subprocess.run([str(tmp_path / "harness")], capture_output=True, text=True, check=True)
    _, seconds, writes = told.stdout.splitlines()[-1].split()
    assert float(seconds) > 18
    assert float(writes) == pytest.approx(1000 * (float(seconds) - 10), rel=0.01)


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/qemu: cannot keep what is built: Not a directory"):
        build(tmp_path / "file" / "qemu")


def test_package_lists_without_the_kernel_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-cache"
    apt.write_text("#!/bin/sh\necho 'E: No packages found' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(InputError, match=r"apt knows no linux-image.*or --kernel FILE"):
        guest._newest_package()


def test_a_holder_of_a_namespace_that_dies_is_told(tmp_path: Path) -> None:
    """Also where it dies between two looks: what is dead has no namespace."""

    class Dead:
        pid = 0

        def __init__(self) -> None:
            self.answers = iter([None, 1])

        def poll(self) -> int | None:
            return next(self.answers)

    (tmp_path / "log").write_text("unshare: unshare failed: Operation not permitted\n")
    with pytest.raises(InputError, match="namespaces: unshare: unshare failed: Operation not"):
        _wait_for_namespace(Dead(), tmp_path / "log")  # type: ignore[arg-type]


def test_a_qemu_that_ends_at_once_is_told_in_its_words(tmp_path: Path) -> None:
    """It may have opened the socket of QMP before it found what it does not like."""
    path = tmp_path / "qemu"
    path.write_text(
        f"#!{sys.executable}\nimport socket, sys\n"
        "path = sys.argv[sys.argv.index('-qmp') + 1][5:].partition(',')[0]\n"
        "listener = socket.create_server(path, family=socket.AF_UNIX)\n"
        "listener.accept()[0].close()\n"
        "sys.exit('no such kernel')\n"
    )
    path.chmod(0o755)
    tiny = Scenario(name="tiny", memory=192 * MIB)
    with (
        pytest.raises(RuntimeError, match="QEMU is gone: no such kernel"),
        machine(Program(str(path), "10.0.0"), "tcg", KIT, tiny, tmp_path, "x"),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_ended_cleans_up(number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as caught, cleaning_up():
        os.kill(os.getpid(), number)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cleaning_up():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
