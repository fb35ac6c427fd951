"""Events, rows and files as the tests of the ledger need them."""

from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.config import Prices
from gateway.events import OpenRequest, RequestFinished
from gateway.ledger.quarters import SUMS
from gateway.ledger.rows import Ended, Grant, Row, row_of
from gateway.outcomes import Outcome

NOON = 1_780_000_200.0  # seconds since 1970, on a quarter of an hour
PRICES = Prices(prompt=0.5, cached=0.1, output=2.0, worker_hour=3.6)
_FINISHED: dict[str, Any] = {
    "endpoint": "/v1/chat/completions",
    "tenant": "alice",
    "key_id": "main",
    "pool": "tiny",
    "model": "tiny",
    "worker": "w0",
    "outcome": Outcome.COMPLETED,
    "status": 200,
    "streamed": True,
    "attempts": 1,
    "prompt_tokens": 100,
    "cached_tokens": 40,
    "output_tokens": 50,
    "service": 200.0,
    "queue_wait_seconds": 0.25,
    "ttft_seconds": 0.5,
    "inter_token_seconds": 0.01,
    "longest_gap_seconds": 0.02,
    "gateway_seconds": 0.0003,
    "duration_seconds": 1.5,
    "end_user": "0123456789abcdef",
    "worker_seconds": 0.75,
}


def finished(request_id: str = "r1", **changes: Any) -> RequestFinished:
    """The end of a request; `changes` are fields that differ from an ordinary one."""
    return RequestFinished(request_id, **_FINISHED | changes)


def ended(request_id: str = "r1", at: float = NOON + 1.5, granted: float | None = NOON, **changes: Any) -> Ended:
    """The same with its grant (None: it had none)."""
    grant = None if granted is None else Grant(granted, PRICES)
    return Ended(finished(request_id, **changes), grant, at)


def row(request_id: str = "r1", at: float = NOON + 1.5, granted: float | None = NOON, **changes: Any) -> Row:
    """The row of such a request."""
    return row_of(ended(request_id, at, granted, **changes))


def open_request(request_id: str = "r1", **changes: Any) -> OpenRequest:
    """A request that runs."""
    request = OpenRequest(
        request_id, "alice", "main", "0123456789abcdef", "tiny", "tiny", "w0", 1, 100, 0, 7, 114.0, 0.25, 1.0, 0.5
    )
    return request._replace(**changes)


def content(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What `query` finds in the file, read beside its writer."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(query))
    finally:
        connection.close()


def ids(path: Path) -> list[str]:
    """The ids of the requests in the file."""
    return [request_id for (request_id,) in content(path, "SELECT request_id FROM requests ORDER BY id")]


KEYS = "quarter, tenant, key, pool, model"
FIGURES = ", ".join(f"sum({name})" for name in SUMS if name != "cost")


def check_sums(path: Path) -> None:
    """The sums by quarter hour are those of the rows."""
    tables = {"requests": "count(*)", "quarters": "sum(requests)"}
    rows, quarters = (
        content(path, f"SELECT {KEYS}, {count}, {FIGURES} FROM {table} GROUP BY {KEYS} ORDER BY {KEYS}")  # noqa: S608
        for table, count in tables.items()
    )
    assert quarters == rows
    costs = [content(path, f"SELECT sum(cost) FROM {table} GROUP BY {KEYS} ORDER BY {KEYS}") for table in tables]  # noqa: S608
    assert costs[0] == [(pytest.approx(cost),) for (cost,) in costs[1]]
