"""What the tests ask of a fleet's ledger in PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

from real_databases import Postgres

from gateway.config import Ledger
from gateway.config import Postgres as PostgresTerms
from gateway.ledger.follower import Follower
from gateway.ledger.quarters import KEYS, SUMS
from gateway.ledger.writer import Delivery, LedgerWriter

from .books import ended

STUCK_SECONDS = 60.0
FOR_EVER = 36500  # days: the rows of the tests have fixed dates
_KEYS = ", ".join(KEYS)
_COUNTS = [name for name in SUMS if name != "cost"]
_DIFFERENT = " OR ".join(f"r.{name} IS DISTINCT FROM q.{name}" for name in ("requests", *_COUNTS))
_OF_ROWS = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
_DIFFERENCES = f"""
    SELECT * FROM (SELECT {_KEYS}, count(*) AS requests, {_OF_ROWS} FROM vtc_ledger.requests GROUP BY {_KEYS}) r
    FULL JOIN vtc_ledger.quarters q USING ({_KEYS}) WHERE {_DIFFERENT} OR abs(r.cost - q.cost) > 1e-6 * abs(r.cost)
"""  # noqa: S608


class Fleet:
    """A database, asked by its superuser."""

    def __init__(self, server: Postgres, url: str) -> None:
        self.server = server
        self.url = url
        self.name = urlsplit(url).path[1:]
        self.terms = PostgresTerms(url=url, rows_days=FOR_EVER)

    def query(self, text: str) -> list[list[str]]:
        """The lines that it finds."""
        return self.server.query(text, self.name)

    def ids(self) -> list[str]:
        """The ids of the requests that it has, in order."""
        return sorted(name for (name,) in self.query("SELECT request_id FROM vtc_ledger.requests"))

    def check_sums(self) -> None:
        """The sums by quarter hour are those of the rows."""
        assert self.query(_DIFFERENCES) == []


class Sender:
    """A file with its writer and its follower, as a gateway process has them, and what the follower reported."""

    def __init__(self, folder: Path, terms: PostgresTerms, name: str = "8000", **days: int) -> None:
        self.path = folder / f"{name}.sqlite"
        self.reports: list[str | None] = []
        kept = {"rows_days": FOR_EVER, "quarters_days": FOR_EVER} | days
        ledger = Ledger.model_validate({"folder": folder, "postgres": terms, **kept})
        self.follower = Follower(self.path, terms, self.reports.append)
        self.writer = LedgerWriter(
            self.path, ledger, lambda reason: None, lambda place, reason: None, wrote=self.follower.wake
        )

    def start(self) -> "Sender":
        """Begin to write and to follow."""
        self.follower.start()
        self.writer.start()
        return self

    def take(self, *request_ids: str, **changes: object) -> None:
        """Hand over the ends of requests."""
        self.writer.take(Delivery([ended(request_id, **changes) for request_id in request_ids], [], []))  # type: ignore[arg-type]

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for the threads."""
        end = monotonic() + STUCK_SECONDS
        while not holds():
            assert monotonic() < end, f"waited in vain: {self.follower.snapshot()}, {self.reports}"
            sleep(0.01)

    def until_sent(self, rows: int) -> None:
        """Wait until so many rows were sent."""
        self.until(lambda: self.follower.snapshot().sent_rows >= rows)

    def close(self) -> int:
        """End both, as a gateway does; returns how many rows stay behind."""
        self.writer.close()
        return self.follower.close()
