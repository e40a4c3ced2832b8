"""A bank in an in-memory SQLite database: transfers at a fixed rate, as in TPC-B.

Usage: sqlite_load.py ACCOUNTS TRANSACTIONS_PER_SECOND
Each transaction updates a random account, one of 100 tellers and one of 10 branches, and appends
to the history, which has an index on the account. It runs until it is ended.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time


def build(accounts: int) -> sqlite3.Connection:
    """Return a database with that many accounts of about 200 bytes each."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB)")
    db.execute("CREATE TABLE teller (id INTEGER PRIMARY KEY, balance INTEGER)")
    db.execute("CREATE TABLE branch (id INTEGER PRIMARY KEY, balance INTEGER)")
    db.execute("CREATE TABLE history (account INTEGER, teller INTEGER, delta INTEGER, time REAL)")
    db.execute("CREATE INDEX by_account ON history (account)")
    draw = random.Random(1)
    db.execute("BEGIN")
    rows = ((i, 0, draw.randbytes(200)) for i in range(accounts))
    db.executemany("INSERT INTO account VALUES (?, ?, ?)", rows)
    db.executemany("INSERT INTO teller VALUES (?, 0)", ((i,) for i in range(100)))
    db.executemany("INSERT INTO branch VALUES (?, 0)", ((i,) for i in range(10)))
    db.execute("COMMIT")
    return db


def transfer(db: sqlite3.Connection, draw: random.Random, accounts: int) -> None:
    """Do one transaction."""
    account, teller, delta = draw.randrange(accounts), draw.randrange(100), draw.randrange(1000)
    db.execute("BEGIN")
    db.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (delta, account))
    db.execute("UPDATE teller SET balance = balance + ? WHERE id = ?", (delta, teller))
    db.execute("UPDATE branch SET balance = balance + ? WHERE id = ?", (delta, teller // 10))
    row = (account, teller, delta, time.time())
    db.execute("INSERT INTO history VALUES (?, ?, ?, ?)", row)
    db.execute("COMMIT")


def main() -> None:
    """Build the bank, then transfer at the rate for ever."""
    accounts, rate = int(sys.argv[1]), float(sys.argv[2])
    db, draw = build(accounts), random.Random(2)
    print("ready", flush=True)
    start, done = time.monotonic(), 0
    while True:
        for _ in range(int((time.monotonic() - start) * rate) - done):
            transfer(db, draw, accounts)
            done += 1
        time.sleep(0.005)


if __name__ == "__main__":
    main()
