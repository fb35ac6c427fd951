"""A program that keeps a ledger and sends it on until it is killed: PATH URL LIFE.

It prints a line each time that more rows are sent. The names of requests begin with the number of its life.
"""

import sys
from itertools import count
from pathlib import Path
from time import sleep

from gateway.config import Postgres
from gateway.ledger import follower

from .fleet_books import FOR_EVER, Sender


def main(path: str, url: str, life: str) -> None:
    """End some requests in each millisecond, for ever."""
    follower.GATHER_SECONDS = 0.02  # type: ignore[misc]
    follower.LONGEST_PAUSE_SECONDS = 0.1  # type: ignore[misc]
    place = Path(path)
    sender = Sender(place.parent, Postgres(url=url, rows_days=FOR_EVER), place.stem).start()
    seen = 0
    for number in count():
        sender.take(*(f"{life}-{number}-{each}" for each in range(5)), tenant=f"t{number % 5}")
        sleep(0.001)
        sent = sender.follower.snapshot().sent_rows
        if sent != seen:
            seen = sent
            sys.stdout.write(f"{seen}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
