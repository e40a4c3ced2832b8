"""Emulated links: two network namespaces, joined so that packets take time and get lost.

Where the kernel has netem, two more namespaces stand between them as routers: the first router's
tbf holds the drop-tail queue and sets the rate, the second's netem delays and loses. Otherwise a
program of ours carries the packets between two TUN devices (``src/relay.c``). Namespaces have no
names: they last as long as the processes in them, so that none is left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from migsim.errors import InputError
from migsim.hypervisor.processes import end, read_tail, start, tool
from migsim.hypervisor.runs import MigrationPath
from migsim.units import KIB

__all__ = ["Ends", "emulated", "has_netem", "netem_commands", "queue_bytes"]

_FRAMING = 14 + 24  # Ethernet's header, and its preamble, checksum and gap


class Ends(NamedTuple):
    """Where to start the two QEMUs.

    Attributes:
        source, destination: what to put before a command to run it at that end.
        address: of the destination, as the source knows it.
        via: what carries the packets.
    """

    source: tuple[str, ...]
    destination: tuple[str, ...]
    address: str
    via: str


def queue_bytes(link: MigrationPath) -> int:
    """Return the length of the queue: as given, or a product of rate and round trip.

    >>> queue_bytes(MigrationPath(kind="emulated", rate=200e6, rtt=0.05))
    1250000
    """
    if isinstance(link.queue, int):
        return link.queue
    return max(256 * KIB, int(link.rate / 8 * link.rtt))


@contextmanager
def emulated(link: MigrationPath, relay: Path, folder: Path, seed: int = 1) -> Iterator[Ends]:
    """Hold a link up. Needs root. ``folder`` takes the logs; the seed says what the relay loses."""
    if os.geteuid() != 0:
        raise InputError("an emulated link needs root, expected it, or a scenario without a link")
    via = "tbf and netem" if has_netem() else "relay"
    with ExitStack() as stack:
        log = folder / "link.log"
        errors = stack.enter_context(log.open("wb"))

        def namespace() -> Path:
            holder = start([tool("unshare", "util-linux"), "--net", "sleep", "infinity"], errors)
            stack.callback(end, holder)
            return _wait_for_namespace(holder, log)

        ends = (namespace(), namespace())
        for place in ends:
            _set_up_tcp(place, link)
        if via == "relay":
            _join_by_relay(stack, ends, link, relay, folder, seed)
        else:
            routers = (namespace(), namespace())
            chain = (ends[0], *routers, ends[1])
            for command in netem_commands(link):
                _inside(chain[command[0]], *_with_pids(command[1], chain))
        source, destination = (_prefix(place) for place in ends)
        yield Ends(source, destination, "10.9.0.2" if via == "relay" else "10.9.2.2", via)


def has_netem() -> bool:
    """Return whether the kernel knows what we need, tried in a namespace that is gone at once."""
    script = (
        "ip link add name left type veth peer name right"
        " && tc qdisc add dev left root tbf rate 1mbit burst 5000 limit 5000"
        " && tc qdisc add dev right root netem delay 1ms"
    )
    tool("tc", "iproute2")
    command = [
        tool("unshare", "util-linux"),
        "--net",
        "sh",
        "-c",
        f"PATH=$PATH:/usr/sbin:/sbin; {script}",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def netem_commands(link: MigrationPath) -> list[tuple[int, list[str]]]:
    """Return what to run in which of four namespaces: end, router, router, end.

    ``{2}`` in a command stands for the process that holds namespace 2.
    """
    a, near, far, b = range(4)
    commands: list[tuple[int, list[str]]] = []
    for number, (left, right) in enumerate([(a, near), (near, far), (far, b)]):
        names = (f"right{number}", f"left{number}")
        commands += [
            (left, ["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1],
                    "netns", f"{{{right}}}"]),
            (left, ["ip", "addr", "add", f"10.9.{number}.1/24", "dev", names[0]]),
            (right, ["ip", "addr", "add", f"10.9.{number}.2/24", "dev", names[1]]),
        ]  # fmt: skip
        for place, name in ((left, names[0]), (right, names[1])):
            # Single packets: tbf cuts and netem drops what the kernel has bundled as a whole.
            commands.append((place, ["ip", "link", "set", name, "mtu", "1500", "gso_max_segs", "1",
                                     "txqueuelen", "10000", "up"]))  # fmt: skip
    for place in (near, far):
        commands.append((place, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]))
    commands += [
        (a, ["ip", "route", "add", "default", "via", "10.9.0.2"]),
        (near, ["ip", "route", "add", "10.9.2.0/24", "via", "10.9.1.2"]),
        (far, ["ip", "route", "add", "10.9.0.0/24", "via", "10.9.1.1"]),
        (b, ["ip", "route", "add", "default", "via", "10.9.2.1"]),
    ]
    burst = max(2 * 1538, int(link.rate / 8 / 1000))  # a millisecond, the kernel's coarsest tick
    # tbf counts packets with 14 bytes of Ethernet: the overhead makes them as long as on a wire.
    rate = ["tbf", "rate", f"{int(link.rate)}bit", "burst", str(burst), "limit",
            str(queue_bytes(link)), "overhead", str(_FRAMING - 14)]  # fmt: skip
    room = int(link.rate / 8 * link.rtt / 2 / 64) + 10_000  # packets under way, however small
    delay = ["netem", "delay", f"{int(link.rtt / 2 * 1e6)}us", "limit", str(room)]
    if link.loss:
        delay += ["loss", f"{100 * link.loss:g}%"]
    for place, device, discipline in [
        (near, "right1", rate), (far, "right2", delay), (far, "left1", rate),
        (near, "left0", delay),
    ]:  # fmt: skip
        commands.append((place, ["tc", "qdisc", "add", "dev", device, "root", *discipline]))
    return commands


def _with_pids(command: list[str], chain: tuple[Path, ...]) -> list[str]:
    holders = [place.parts[2] for place in chain]  # /proc/PID/ns/net
    return [word.format(*holders) if word.startswith("{") else word for word in command]


def _prefix(namespace: Path) -> tuple[str, ...]:
    return (tool("nsenter", "util-linux"), f"--net={namespace}")


def _inside(namespace: Path, *command: str) -> None:
    program = tool(command[0], "procps" if command[0] == "sysctl" else "iproute2")
    done = subprocess.run(
        [*_prefix(namespace), program, *command[1:]], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"an emulated link: {' '.join(command)}: {done.stderr.strip()}")


def _set_up_tcp(namespace: Path, link: MigrationPath) -> None:
    settings = {
        "net.ipv4.tcp_wmem": f"4096 {min(65536, link.send_buffer)} {link.send_buffer}",
        "net.ipv4.tcp_rmem": f"4096 {min(131072, link.receive_buffer)} {link.receive_buffer}",
        "net.ipv4.tcp_no_metrics_save": "1",
    }
    for key, value in settings.items():
        _inside(namespace, "sysctl", "-qw", f"{key}={value}")
    with _allowed(link.congestion):
        _inside(namespace, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={link.congestion}")
    _inside(namespace, "ip", "link", "set", "lo", "up")


@contextmanager
def _allowed(congestion: str) -> Iterator[None]:
    """Let namespaces choose a congestion control for a moment: of itself Linux allows few."""
    folder = Path("/proc/sys/net/ipv4")
    available = (folder / "tcp_available_congestion_control").read_text(encoding="ascii").split()
    if congestion not in available:
        raise InputError(f"link.congestion: got '{congestion}', this kernel has {available}")
    path = folder / "tcp_allowed_congestion_control"
    with path.open(encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # or another migsim would take back what we rely on
        before = path.read_text(encoding="ascii")
        if congestion in before.split():
            yield
            return
        path.write_text(f"{before.strip()} {congestion}\n", encoding="ascii")
        try:
            yield
        finally:
            path.write_text(before, encoding="ascii")


def _wait_for_namespace(holder: subprocess.Popen[bytes], log: Path) -> Path:
    own, path = Path("/proc/self/ns/net").readlink(), Path(f"/proc/{holder.pid}/ns/net")
    for _ in range(200):
        if holder.poll() is not None:
            raise InputError(f"an emulated link needs network namespaces: {read_tail(log)}")
        # Before unshare has acted, the process is still in our namespace; it may also end just now.
        with contextlib.suppress(OSError):
            if path.readlink() != own:
                return path
        time.sleep(0.01)
    raise InputError("an emulated link: unshare --net did nothing for 2 s")


def _join_by_relay(
    stack: ExitStack, ends: tuple[Path, Path], link: MigrationPath, relay: Path, folder: Path,
    seed: int,
) -> None:  # fmt: skip
    log = folder / "relay.log"
    command = [str(relay), *(str(place) for place in ends), f"rate={link.rate:.0f}",
               f"delay={link.rtt / 2:.9f}", f"queue={queue_bytes(link)}",
               f"loss={link.loss:.9f}", f"seed={seed}"]  # fmt: skip
    process = start(command, stack.enter_context(log.open("wb")), output=subprocess.PIPE)
    stack.callback(end, process, 1.0)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 10)
    if not ready or process.stdout.readline() != b"ready\n":
        raise InputError(f"an emulated link: the relay failed: {read_tail(log)}")
    for number, place in enumerate(ends, 1):
        _inside(place, "ip", "addr", "add", f"10.9.0.{number}/24", "dev", "link0")
        _inside(place, "ip", "link", "set", "link0", "mtu", "1500", "txqueuelen", "10000", "up")
