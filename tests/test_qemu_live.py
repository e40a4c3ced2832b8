"""A real migration between two QEMUs, where they are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migsim.errors import InputError
from migsim.hypervisor.guest import Kit, _installed_kernel, build, cache_directory
from migsim.hypervisor.links import _allowed, emulated
from migsim.hypervisor.live import Tools, run
from migsim.hypervisor.qemu import find_program, pick_accel
from migsim.hypervisor.runs import GuestLoad, MigrationPath
from migsim.hypervisor.scenario import Scenario
from migsim.units import MIB

pytestmark = pytest.mark.qemu


def _kit() -> Kit:
    """Return the kit without asking a network for a kernel. Raises `InputError` where none is."""
    kernel = _installed_kernel(cache_directory())
    if kernel is None:
        raise InputError("no kernel image in /boot or in migsim's cache (migsim qemu build)")
    return build(kernel=kernel)


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        program = find_program()
        kit = _kit()
        return Tools(program, kit, pick_accel("auto", program, kit))
    except InputError as error:
        pytest.skip(str(error))


def ours() -> set[str]:
    """Return the command lines of QEMUs, relays and holders of namespaces that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"migsim-" in b" ".join(words):
            found.add(b" ".join(words).decode(errors="replace"))
    return found


def test_a_guest_migrates_and_runs_on(tools: Tools) -> None:
    scenario = Scenario(
        name="small", memory=192 * MIB, warm_up_seconds=1.0, time_limit_seconds=30.0,
        workload=GuestLoad(kind="uniform", working_set=16 * MIB, rate=1000.0),
        parameters={"max-bandwidth": 40_000_000, "downtime-limit": 300},
    )  # fmt: skip
    before, stages = ours(), []
    recorded = run(scenario, tools, repeat=3, collection="test", tell=stages.append)
    measured = recorded.measured
    assert stages == ["boots", "warms up", "migrates", "runs on"]
    assert (recorded.name, recorded.repeat, recorded.set) == ("small", 3, "test")
    assert measured.status == "completed"
    pages = recorded.memory // 4096 - recorded.zero_pages  # those that hold something
    assert measured.normal_pages is not None
    assert measured.normal_pages >= pages > (16 + 64) * 256
    # A page and its header, 9 bytes for a zero page, and little besides.
    expected = 4104 * measured.normal_pages + 9 * recorded.zero_pages
    assert measured.transferred_bytes == pytest.approx(expected, rel=0.001)
    assert measured.dirty_syncs is not None
    assert measured.dirty_syncs >= 3
    assert measured.visible_downtime_seconds is not None
    assert 0 < measured.visible_downtime_seconds < 2
    seconds, writes = recorded.guest_log[-1]
    assert writes == pytest.approx(1000 * seconds, rel=0.2)
    assert ours() <= before


def _tcp_rate(prefixes: Sequence[tuple[str, ...]], address: str, seconds: float) -> float:
    """Return bytes per second of a bulk transfer between the two ends."""
    import sys

    sink = (
        "import socket, sys, time\n"
        "s = socket.create_server(('0.0.0.0', 5000)); print('up', flush=True)\n"
        "c, _ = s.accept(); start, got = time.monotonic(), 0\n"
        "while data := c.recv(1 << 18): got += len(data)\n"
        "print(got / (time.monotonic() - start))"
    )
    send = (
        "import socket, sys, time\n"
        f"c = socket.create_connection(('{address}', 5000)); end = time.monotonic() + {seconds}\n"
        "while time.monotonic() < end: c.sendall(bytes(1 << 16))"
    )
    with subprocess.Popen(
        [*prefixes[1], sys.executable, "-c", sink], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        subprocess.run([*prefixes[0], sys.executable, "-c", send], check=True)
        return float(server.stdout.read())


def test_an_emulated_link_has_its_rate_and_its_round_trip(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("unshare") is None or shutil.which("tc", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("found no unshare or no tc")
    try:
        relay = _kit().relay
    except InputError as error:
        pytest.skip(str(error))
    link = MigrationPath(kind="emulated", rate=50e6, rtt=0.02)
    try:
        with emulated(link, relay, tmp_path) as ends:
            rate = _tcp_rate((ends.source, ends.destination), ends.address, 2.0)
            script = (
                "import socket, time; start = time.monotonic()\n"
                f"try: socket.create_connection(('{ends.address}', 5001))\n"
                "except ConnectionRefusedError: print(time.monotonic() - start)"
            )
            told = subprocess.run(
                [*ends.source, "python3", "-c", script], capture_output=True, text=True, check=True
            ).stdout
    except InputError as error:
        pytest.skip(str(error))
    assert 8 * rate == pytest.approx(50e6 * 1448 / 1538, rel=0.15)
    assert float(told) == pytest.approx(0.02, abs=0.01)


def test_links_set_up_at_once_do_not_take_from_each_other() -> None:
    file = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
    if os.geteuid() != 0 or not os.access(file, os.W_OK):
        pytest.skip("needs root")
    before = file.read_text()

    def set_up(_: int) -> bool:
        with _allowed("cubic"):
            time.sleep(0.001)
            return "cubic" in file.read_text().split()

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(set_up, range(100)))
    assert file.read_text() == before
