"""The ledger of a fleet as commands use it: what the database has of all gateways. What waits in files is missing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from gateway.config import Postgres
from gateway.ledger import database_schema as schema
from gateway.ledger.audit import Audit, audits_of
from gateway.ledger.database import LedgerDatabase
from gateway.ledger.database_faults import place_of, told_database
from gateway.ledger.report import Query

_LINES_AT_ONCE: Final = 5000


class LedgerFleet:
    """The tables of one database; each method connects, and raises `LedgerFault`."""

    def __init__(self, terms: Postgres) -> None:
        """The database of `terms`."""
        self._terms = terms

    def parts(self, query: Query) -> Iterator[tuple[int, tuple[str, ...], tuple[float, ...]]]:
        """The sums by quarter hour and the names that `query` asks for."""
        names = slice(1, 1 + len(query.subjects))
        for line in self._read(schema.report_of(query), query.first, query.end):
            yield line[0], line[names], line[names.stop :]

    def audits(self, first: int, end: int) -> list[Audit]:
        """Prompts and answers of each worker in the quarter hours from `first` to before `end`."""
        return audits_of(self._read(schema.COUNTED, first, end), self._read(schema.WORK, first, end))

    def forget(self, end_user: str) -> int:
        """Remove the end user of this pseudonym from all rows, which have it or the name; returns from how many."""
        with self._opened() as (runner, database):
            return runner.run(database.forget(end_user))

    def _read(self, statement: str, first: int, end: int) -> Iterator[Any]:
        with self._opened() as (runner, database), told_database(place_of(self._terms.url)):
            transaction = database.connection.transaction(readonly=True)
            runner.run(transaction.start())
            cursor = runner.run(_cursor(database, statement, first, end))
            while lines := runner.run(cursor.fetch(_LINES_AT_ONCE)):
                yield from map(tuple, lines)

    @contextmanager
    def _opened(self) -> Iterator[tuple[asyncio.Runner, LedgerDatabase]]:
        with asyncio.Runner() as runner:
            database = runner.run(LedgerDatabase.open(self._terms, answer_seconds=None))
            try:
                runner.run(database.check())
                yield runner, database
            finally:
                runner.run(database.close())


async def _cursor(database: LedgerDatabase, statement: str, first: int, end: int) -> Any:
    return await database.connection.cursor(statement, first, end)
