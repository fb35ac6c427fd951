"""The one connection of a process to the database of a fleet's ledger; each transaction of it is whole or not at all.

Rows are taken once by the id of their request, and what was taken is added up in the same statement. Who adds rows
shares a lock, and reads them from its file only then: so whoever forgets an end user in a file first, and then has the
lock alone for a moment, misses none that is on its way.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

import asyncpg

from gateway.config import Postgres
from gateway.ledger import database_schema as schema
from gateway.ledger.database_faults import place_of, told_database
from gateway.ledger.faults import LedgerFault
from gateway.ledger.outgoing import Parcel

ANSWER_SECONDS: Final = 10.0  # the longest wait for one answer while rows are sent


class LedgerDatabase:
    """A connection to tables of our version, or for reading of an earlier one."""

    def __init__(self, connection: asyncpg.Connection, place: str) -> None:
        self.connection = connection
        self._place = place

    @classmethod
    async def open(cls, terms: Postgres, answer_seconds: float | None = ANSWER_SECONDS) -> Self:
        """Connect to the database of `terms`; raises `LedgerFault`. No answer may take longer than `answer_seconds`."""
        place = place_of(terms.url)
        with told_database(place):
            connection = await asyncpg.connect(
                terms.url,
                timeout=ANSWER_SECONDS,
                command_timeout=answer_seconds,
                statement_cache_size=0,  # PgBouncer may hand each transaction to another session
                ssl=_tls(terms),
                server_settings={"application_name": "vtc-gateway"},
            )
        database = cls(connection, place)
        encoding = connection.get_settings().server_encoding
        if encoding != "UTF8":
            database.drop()
            raise LedgerFault(f"{place} has the encoding {encoding}; create it with ENCODING 'UTF8'")
        return database

    async def bring_up(self) -> None:
        """Make the tables that are missing; raises `LedgerFault` if a newer gateway made them."""
        async with self._transaction():
            if await self._version() != schema.VERSION:
                await self.connection.execute(schema.EXCLUDE)
                await self._make_steps()

    async def _make_steps(self) -> None:
        version = await self._version()  # another gateway may have been faster
        if version is None:
            await self.connection.execute(schema.BEGIN)
        for step in schema.STEPS[version or 0 :]:
            await self.connection.execute(step)
        await self.connection.execute(schema.SET_VERSION, schema.VERSION)

    async def check(self) -> None:
        """Raise `LedgerFault` unless its tables can be read."""
        with told_database(self._place):
            if await self._version() is None:
                raise LedgerFault(
                    f"{self._place} has no ledger; one begins when a gateway with `ledger.postgres` starts"
                )

    async def _version(self) -> int | None:
        """The version of its tables, None without; raises `LedgerFault` if it is newer than ours."""
        if not await self.connection.fetchval(schema.HAS_VERSION):
            return None
        version = int(await self.connection.fetchval(schema.READ_VERSION))
        if version > schema.VERSION:
            raise LedgerFault(f"{self._place} has tables of a newer vtc-gateway (version {version})")
        return version

    async def add(self, next_parcel: Callable[[], Parcel]) -> Parcel:
        """Add what `next_parcel` gives, called once it is sure to count; returns it. Raises `LedgerFault`."""
        async with self._transaction():
            await self.connection.execute(schema.SHARE)
            parcel = next_parcel()
            await self.connection.execute(schema.ADD_REQUESTS, parcel.rows)
            await self.connection.execute(schema.SET_TIMES, parcel.book, parcel.times)
        return parcel

    async def delete_old(self, before_quarter: int) -> bool:
        """Delete a slice of the rows of the quarter hours before that one; True if more may be left."""
        with told_database(self._place):
            status = await self.connection.execute(schema.DELETE_OLD, before_quarter)
        return bool(status == f"DELETE {schema.SLICE_ROWS}")

    async def forget(self, end_user: str) -> int:
        """Remove the end user of this pseudonym from all rows, those on their way included; returns from how many."""
        async with self._transaction():
            await self.connection.execute(schema.EXCLUDE)  # waits for whoever has read its file before
        with told_database(self._place):
            status = await self.connection.execute(schema.FORGET, end_user)
        return int(status.removeprefix("UPDATE "))

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        with told_database(self._place):
            async with self.connection.transaction():
                yield

    async def close(self) -> None:
        """Close it; after a failure, or without an answer, it is dropped."""
        try:
            await self.connection.close(timeout=1.0)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.drop()

    def drop(self) -> None:
        """Close it as it is."""
        self.connection.terminate()


def _tls(terms: Postgres) -> ssl.SSLContext | None:
    """How to make sure who answers; None leaves it to the address."""
    query = parse_qs(urlsplit(terms.url).query)
    if terms.ca_file is None and (query.get("sslmode") != ["verify-full"] or "sslrootcert" in query):
        return None
    return ssl.create_default_context(cafile=terms.ca_file)
