"""Record how long Linux's TCP is silent after an outage, for ``migsim/data/tcp-gap.csv``.

``python tests/benchmarks/tcp_gap.py record OUTPUT.csv`` needs root, gcc and iproute2, and takes two
minutes. Per round trip three network namespaces, client, router and server, the first two joined by
migsim's relay (``migsim/hypervisor/src/relay.c``); the router swallows all packets (blackhole
routes) for a while, as a switch does that sends a guest's frames to the host that it has left.
"""

from __future__ import annotations

import csv
import json
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

OUTAGES = (0.05, 0.12, 0.19, 0.25, 0.35, 0.5, 0.7, 0.95, 1.3, 1.9, 2.8, 4.2, 7.0)
ROUND_TRIPS = (0.0, 0.02, 0.1)
REQUESTS, UPLOADS = 20, 2
SERVER = ("10.9.1.2", 5000)


def serve() -> None:
    """Answer each byte with a byte on port 5000; on 5001 take data and note when."""
    echo, sink = (socket.create_server(("", port)) for port in (5000, 5001))
    print("ready", flush=True)
    arrivals: dict[socket.socket, list[tuple[float, float]]] = {}
    last: dict[socket.socket, float] = {}
    echoing: set[socket.socket] = set()
    while True:
        for ready in select.select([echo, sink, sys.stdin, *echoing, *arrivals], [], [])[0]:
            now = time.monotonic()
            if ready is sys.stdin:
                if not sys.stdin.readline():
                    return
                print(json.dumps(list(arrivals.values())), flush=True)
                for gaps in arrivals.values():
                    gaps.clear()
            elif ready in (echo, sink):
                connection, _ = ready.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if ready is echo:
                    echoing.add(connection)
                else:
                    arrivals[connection], last[connection] = [], now
            elif ready in echoing:
                data = ready.recv(4096)
                if data:
                    ready.sendall(data)
                else:
                    echoing.discard(ready)
            else:
                if not ready.recv(1 << 18):
                    del arrivals[ready]
                    continue
                if now - last[ready] > 0.04:
                    arrivals[ready].append((last[ready], now))
                last[ready] = now


def timers(connection: socket.socket) -> tuple[float, float]:
    """Return the retransmission timeout and the smoothed round trip, in seconds."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    words = struct.unpack("8B24I", info)[8:]
    return words[0] * 1e-6, words[15] * 1e-6


def request(period: float, count: int) -> None:
    """Hold connections of which each sends a byte, waits for the answer, and rests."""
    open_: list[socket.socket] = []
    for _ in range(count):
        open_.append(socket.create_connection(SERVER))
        open_[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    due = {each: time.monotonic() + period * i / count for i, each in enumerate(open_)}
    sent: dict[socket.socket, tuple[float, float, float]] = {}
    slow: list[tuple[float, float, float, float]] = []
    print("ready", flush=True)
    while True:
        wait = max(0.0, min(due.values(), default=1.0) - time.monotonic())
        for ready in select.select([sys.stdin, *sent], [], [], wait)[0]:
            if ready is sys.stdin:
                if not sys.stdin.readline():
                    return
                print(json.dumps(slow), flush=True)
                slow.clear()
                continue
            ready.recv(16)
            now = time.monotonic()
            start, rto, srtt = sent.pop(ready)
            if now - start > 0.15 + srtt:
                slow.append((start, now, rto, srtt))
            due[ready] = now + period
        for each in [each for each, at in due.items() if at <= time.monotonic()]:
            rto, srtt = timers(each)
            sent[each] = (time.monotonic(), rto, srtt)
            each.send(b"x")
            del due[each]


def upload(count: int) -> None:
    """Hold connections that send without end."""
    open_ = [socket.create_connection((SERVER[0], 5001)) for _ in range(count)]

    def send(connection: socket.socket) -> None:
        while True:
            connection.sendall(bytes(1 << 16))

    for each in open_:
        threading.Thread(target=send, args=(each,), daemon=True).start()
    print("ready", flush=True)
    while sys.stdin.readline():
        print(json.dumps([timers(each) for each in open_]), flush=True)


# ---- the recorder -------------------------------------------------------------------------------


def ask(process: subprocess.Popen[str]) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def record(traffic: str, rtt: float, rows: list[dict[str, Any]], relay: Path) -> None:
    """Take down and up the path of a kind of traffic, once for each of `OUTAGES`."""
    with ExitStack() as stack:

        def started(command: list[str]) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        holders = [started(["unshare", "--net", "sleep", "600"]) for _ in range(3)]
        time.sleep(0.5)
        spaces = [f"/proc/{holder.pid}/ns/net" for holder in holders]

        def inside(place: int, *command: str) -> list[str]:
            return ["nsenter", f"--net={spaces[place]}", *command]

        def ip(place: int, text: str) -> None:
            subprocess.run(inside(place, "ip", *text.split()), check=True)

        rate = 1e9 if traffic == "requests" else 50e6
        carrier = started([str(relay), *spaces[:2], f"rate={rate:.0f}", f"delay={rtt / 2:.6f}",
                           "queue=262144", "loss=0.0", "seed=1"])  # fmt: skip
        assert carrier.stdout is not None
        assert carrier.stdout.readline() == "ready\n"
        for place in range(3):
            ip(place, "link set lo up")
        for place in (0, 1):
            ip(place, f"addr add 10.9.0.{place + 1}/24 dev link0")
            ip(place, "link set link0 mtu 1500 up")
        ip(1, f"link add near type veth peer name far netns {holders[2].pid}")
        for place, name in ((1, "near"), (2, "far")):
            ip(place, f"addr add 10.9.1.{place}/24 dev {name}")
            ip(place, f"link set {name} up")
        subprocess.run(inside(1, "sysctl", "-qw", "net.ipv4.ip_forward=1"), check=True)
        ip(0, "route add default via 10.9.0.2")
        ip(2, "route add default via 10.9.1.1")

        def ours(place: int, *arguments: str) -> subprocess.Popen[str]:
            process = started(inside(place, sys.executable, __file__, *arguments))
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process

        server = ours(2, "serve")
        client = ours(0, traffic)
        for outage in OUTAGES:
            time.sleep(2.0)
            ask(server)
            before = ask(client)
            for space in ("10.9.1.2", "10.9.0.1"):
                ip(1, f"route add blackhole {space}/32")
            start = time.monotonic()
            time.sleep(outage)
            end = 0.0
            for space in ("10.9.0.1", "10.9.1.2"):
                ip(1, f"route del blackhole {space}/32")
                end = time.monotonic()
            time.sleep(1.2 * (end - start) + 1.0 + 3 * rtt)
            if traffic == "requests":
                found = ask(client)
            else:
                found = [
                    (*max(gaps, key=lambda gap: gap[1] - gap[0]), *each)
                    for gaps, each in zip(ask(server), before, strict=True)
                    if gaps
                ]
            rows += [
                {
                    "traffic": traffic,
                    "rtt_ms": f"{1e3 * rtt:g}",
                    "outage_s": f"{end - start:.4f}",
                    "sent_s": f"{sent - start:.4f}",
                    "rto_s": f"{rto:.4f}",
                    "srtt_s": f"{srtt:.4f}",
                    "gap_s": f"{got - sent:.4f}",
                }
                for sent, got, rto, srtt in found
            ]


def main(output: Path) -> None:
    """Record everything into a CSV file."""
    from migsim.hypervisor import guest

    relay = guest._compiled(output.parent, "relay.c", ("-O2", "-pthread"))
    rows: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=record, args=(traffic, rtt, rows, relay))
        for traffic in ("requests", "upload")
        for rtt in ROUND_TRIPS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows.sort(key=lambda row: (row["traffic"], float(row["rtt_ms"]), float(row["outage_s"]),
                               float(row["sent_s"])))  # fmt: skip
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["requests"]:
            request(1.0, REQUESTS)
        case ["upload"]:
            upload(UPLOADS)
        case ["record", output]:
            main(Path(output))
        case _:
            sys.exit(__doc__)
