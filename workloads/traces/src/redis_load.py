"""Load for Redis: fill it with keys, then set and get at a fixed rate, some keys more than others.

Usage: redis_load.py PORT fill KEYS VALUE_BYTES
       redis_load.py PORT run KEYS VALUE_BYTES REQUESTS_PER_SECOND SECONDS
Keys are drawn as floor(KEYS * u^3), so that the first tenth gets 46 % of the requests; every second
request is a SET with random bytes, the others are GETs.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import time


def packed(*words: bytes) -> bytes:
    """Return a request in Redis' protocol."""
    body = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%s" % (len(words), body)


def exchange(connection: socket.socket, requests: list[bytes], last: bytes) -> None:
    """Send requests in one piece, and read the answers up to the one to a PING with ``last``."""
    connection.sendall(b"".join(requests) + packed(b"PING", last))
    tail = b""
    while not tail.endswith(last + b"\r\n"):
        tail = (tail + connection.recv(1 << 20))[-64:]


def fill(connection: socket.socket, keys: int, size: int) -> None:
    """Set every key once, in a random order, as years of operation would leave them."""
    order = list(range(keys))
    random.Random(1).shuffle(order)
    for first in range(0, keys, 1000):
        part = [packed(b"SET", b"key:%09d" % k, os.urandom(size)) for k in order[first:][:1000]]
        exchange(connection, part, b"%032x" % random.getrandbits(128))


def run(connection: socket.socket, keys: int, size: int, rate: float, seconds: float) -> int:
    """Send requests at a rate, in batches of 5 ms; return how many."""
    draw = random.Random(2)
    start, sent = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        requests = []
        for _ in range(int(now * rate) - sent):
            name = b"key:%09d" % int(keys * draw.random() ** 3)
            new = draw.random() < 0.5
            requests.append(packed(b"SET", name, os.urandom(size)) if new else packed(b"GET", name))
        sent += len(requests)
        if requests:
            exchange(connection, requests, b"%032x" % draw.getrandbits(128))
        time.sleep(0.005)
    return sent


def main() -> None:
    """Read the arguments and do what they say."""
    port, act, keys, size, *rest = sys.argv[1:]
    with socket.create_connection(("localhost", int(port))) as connection:
        if act == "fill":
            fill(connection, int(keys), int(size))
        else:
            print(run(connection, int(keys), int(size), *(float(x) for x in rest)), "requests")


if __name__ == "__main__":
    main()
