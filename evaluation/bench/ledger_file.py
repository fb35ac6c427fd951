"""A ledger's file as large as that of a busy month, made in SQL, and how long starts and reports take with it.

The requests are spread evenly over 30 days, over tenants with two keys each, over models and over end users. Some are
open and the file was not closed, as after a kill.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep, time
from typing import Final

from gateway.config import Ledger
from gateway.events import RequestFinished
from gateway.ledger import schema
from gateway.ledger.file import LedgerFile
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.quarters import KEYS, SUMS
from gateway.ledger.report import Query, Subject, lines
from gateway.ledger.rows import QUARTER_US, Ended, Grant
from gateway.ledger.writer import Delivery, LedgerWriter

TENANTS: Final = 50
MODELS: Final = 3
WORKERS: Final = 8
END_USERS: Final = 20_000
OPEN: Final = 500
BEGAN: Final = datetime(2026, 11, 1, tzinfo=UTC)
DAYS: Final = 30
_FIRST: Final = int(BEGAN.timestamp()) * 1_000_000 // QUARTER_US
_QUARTERS: Final = DAYS * 96
_ROWS_AT_ONCE: Final = 500_000
_NAMES: Final = (
    *(f"tenant-{number}" for number in range(TENANTS)),
    *("key-0", "key-1"),
    *(f"model-{number}" for number in range(MODELS)),
    *(f"worker-{number}" for number in range(WORKERS)),
    "completed",
)
_ID = {name: place for place, name in enumerate(_NAMES, 1)}
_COLUMNS: Final = {
    "request_id": "printf('%016x%016x', i, i * 2654435761)",
    "quarter": f"{_FIRST} + i * {_QUARTERS} / :rows",
    "granted_us": f"({_FIRST} * :rows + i * {_QUARTERS}) / :rows * {QUARTER_US} + i % {QUARTER_US}",
    "ended_us": f"({_FIRST} * :rows + i * {_QUARTERS}) / :rows * {QUARTER_US} + i % {QUARTER_US} + 2000000",
    "tenant": f"{_ID['tenant-0']} + i % {TENANTS}",
    "key": f"{_ID['key-0']} + i / {TENANTS} % 2",
    "pool": f"{_ID['model-0']} + i % {MODELS}",
    "model": f"{_ID['model-0']} + i % {MODELS}",
    "worker": f"{_ID['worker-0']} + i % {WORKERS}",
    "outcome": f"{_ID['completed']}",
    "end_user": f"printf('%016x', (i * 2654435761 % {END_USERS} + 1) * 45035996273)",
    "attempts": "1",
    "choices": "1",
    "prompt_tokens": "200 + i % 1000",
    "cached_tokens": "i % 100",
    "output_tokens": "50 + i % 400",
    "estimated_tokens": "0",
    "lost_prompt_tokens": "0",
    "lost_output_tokens": "0",
    "cost": "400.0 + i % 1000",
    "worker_us": "900000 + i % 100000",
    "money_nano": "500000 + i % 100000",
    "prompt_nano": "300000 + i % 100000",
    "cached_nano": "i % 1000",
    "output_nano": "100000 + i % 100000",
    "queue_us": "i % 1000000",
    "ttft_us": "200000 + i % 1000000",
    "duration_us": "2000000 + i % 1000000",
}


def make_file(path: Path, rows: int, step: Callable[[int], None] = lambda done: None) -> None:
    """Make the file at `path` with so many rows; `step` hears how many there are."""
    assert tuple(_COLUMNS) == schema.COLUMNS
    values = ", ".join(_COLUMNS.values())
    numbers = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
    file = LedgerFile(path)
    connection = file.connection
    connection.executemany("INSERT INTO names VALUES (?, ?)", ((number, name) for name, number in _ID.items()))
    for first in range(0, rows, _ROWS_AT_ONCE):
        bounds = {"first": first, "last": min(first + _ROWS_AT_ONCE, rows) - 1, "rows": rows}
        connection.execute(f"{numbers} INSERT INTO requests ({', '.join(_COLUMNS)}) SELECT {values} FROM n", bounds)  # noqa: S608
        step(bounds["last"] + 1)
    bounds = {"first": rows, "last": rows + OPEN - 1, "rows": rows + OPEN}
    connection.execute(f"{numbers} INSERT INTO open ({', '.join(_COLUMNS)}) SELECT {values} FROM n", bounds)  # noqa: S608
    sums = ", ".join(f"sum({name})" for name in SUMS)
    keys = ", ".join(KEYS)
    connection.execute(
        f"INSERT INTO quarters ({keys}, requests, {', '.join(SUMS)}) "  # noqa: S608
        f"SELECT {keys}, count(*), {sums} FROM requests GROUP BY {keys}"
    )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.drop()


def start_seconds(path: Path, event: RequestFinished) -> float:
    """How long a writer takes from its start until a request that has ended is in the file.

    What was open is closed before; the file is being checked meanwhile.
    """
    ended = Ended(event, Grant(time(), None), time())
    faults: list[object] = []
    writer = LedgerWriter(path, Ledger(folder=path.parent), faults.append, lambda place, reason: faults.append(place))
    began = perf_counter()
    writer.start()
    writer.take(Delivery([ended], [], []))
    while not writer.snapshot().written_rows:
        sleep(0.001)
    seconds = perf_counter() - began
    writer.close()
    assert not faults, faults
    return seconds


def report_seconds(folder: Path, subject: Subject) -> float:
    """How long a report of the month by `subject` takes."""
    query = Query(_FIRST, _FIRST + _QUARTERS, BEGAN.tzinfo or UTC, (subject,))
    began = perf_counter()
    report = lines(query, LedgerFolder(folder).parts(query))
    assert report
    return perf_counter() - began
