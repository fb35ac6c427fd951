"""One file of the ledger: opened by one process at a time, written by one transaction for each batch.

A transaction is in the file once `write` returns, whatever happens to the process or the machine. A batch has a number,
which the file keeps: a batch that is written again after a failure is not counted twice. What was open when the process
before was killed is closed as `orphaned` when the file is opened.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from gateway.ledger import schema
from gateway.ledger.faults import LedgerFault, told
from gateway.ledger.quarters import merged
from gateway.ledger.rows import QUARTER_US, Row
from gateway.ledger.worker_times import WorkerTime

BUSY_MS: Final = 500  # so long a transaction waits for another program
SLICE_ROWS: Final = 5000  # deleted at once, so that no commit waits long
_FIRST_NAMED: Final = schema.COLUMNS.index(schema.NAMED[0])
_AFTER_NAMED: Final = _FIRST_NAMED + len(schema.NAMED)
_MOST_SETS: Final = 10_000  # of names that rows have together, whose numbers are kept


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes: requests that ended, requests that are open, and the time of workers."""

    rows: Sequence[Row]
    notes: Sequence[Row] = ()
    times: Sequence[WorkerTime] = ()


class Lock:
    """The right to write a file of the ledger; the kernel takes it back when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock of the ledger's file at `path`; raises `LedgerFault` if another process has it."""
        with told(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise LedgerFault(f"{path} belongs to another gateway process, which still runs") from None

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)


class LedgerFile:
    """The one connection that writes a file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at `path`; raises `LedgerFault`.

        `was_clean` is False if the process before did not close it; `orphans` is how many requests were open then.
        """
        self.path = path
        self._ids: dict[str, int] = {}
        self._sets: dict[tuple[str, ...], tuple[int, ...]] = {}  # the numbers of names that rows have together
        self._last_batch: int | None = None  # None after a failure: nobody knows what is in the file
        self._noted: set[str] = set()  # at least the ids of the requests that are in the table `open`
        with told(path):
            self.connection = apsw.Connection(str(path))
            try:
                self._prepare()
                self.was_clean, self.orphans = self._begin()
            except BaseException:
                self.connection.close(True)
                raise

    def _prepare(self) -> None:
        connection = self.connection
        connection.set_busy_timeout(BUSY_MS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.pragma("user_version")
        if version > schema.VERSION:
            raise LedgerFault(f"{self.path} was written by a newer vtc-gateway (version {version} of its tables)")
        with self._transaction():
            for step in schema.STEPS[version:]:
                connection.execute(step)
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")

    def _begin(self) -> tuple[bool, int]:
        with self._transaction():
            was_open = self._figure("SELECT is_open FROM life")
            orphans = self._figure("SELECT count(*) FROM open")
            for statement in schema.CLOSE_ORPHANS:
                self.connection.execute(statement)
            self.connection.execute("UPDATE life SET is_open = 1")
        return not was_open, orphans

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            self._ids.clear()  # names of this transaction are not in the file
            self._sets.clear()
            self._last_batch = None
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _figure(self, query: str) -> int:
        """The one number that `query` finds."""
        ((number,),) = self.connection.execute(query)
        return int(number)

    # -- batches

    def last_batch(self) -> int:
        """The number of the last batch that it has; raises `LedgerFault`."""
        if self._last_batch is None:
            with told(self.path):
                self._last_batch = self._figure("SELECT last_batch FROM life")
        return self._last_batch

    def write(self, number: int, batch: Batch) -> None:
        """Write `batch` as number `number`; does nothing if the file has it; raises `LedgerFault`."""
        if number > self.last_batch():
            with told(self.path), self._transaction():
                self._insert(batch)
                self.connection.execute("UPDATE life SET last_batch = ?", (number,))
            self._last_batch = number
        self._noted.difference_update(row.request_id for row in batch.rows)

    def _insert(self, batch: Batch) -> None:
        connection, noted = self.connection, self._noted
        if batch.notes:
            noted.update(note.request_id for note in batch.notes)
            connection.executemany(schema.NOTE_OPEN, map(self._numbered, batch.notes))
        # After the notes: a request that ended in this batch may have been noted in it.
        if over := [(row.request_id,) for row in batch.rows if row.request_id in noted]:
            connection.executemany(schema.END_OPEN, over)
        if batch.rows:
            rows = [self._numbered(row) for row in batch.rows]
            connection.executemany(schema.INSERT_REQUEST, rows)
            connection.executemany(schema.ADD_QUARTER, [(*key, *sums) for key, sums in merged(rows).items()])
        if batch.times:
            times = [(quarter, self._id(worker), *figures) for quarter, worker, *figures in batch.times]
            connection.executemany(schema.ADD_TIME, times)

    def _numbered(self, row: Row) -> tuple[Any, ...]:
        """What the tables hold of `row`: numbers in the place of names."""
        values: tuple[Any, ...] = row
        names = values[_FIRST_NAMED:_AFTER_NAMED]
        numbers = self._sets.get(names)
        if numbers is None:
            if len(self._sets) == _MOST_SETS:
                self._sets.clear()
            numbers = self._sets[names] = tuple(map(self._id, names))
        return values[:_FIRST_NAMED] + numbers + values[_AFTER_NAMED:]

    def _id(self, name: str) -> int:
        known = self._ids.get(name)
        return self._number(name) if known is None else known

    def _number(self, name: str) -> int:
        connection = self.connection
        connection.execute("INSERT OR IGNORE INTO names (name) VALUES (?)", (name,))
        ((number,),) = connection.execute("SELECT id FROM names WHERE name = ?", (name,))
        self._ids[name] = number
        return int(number)

    # -- upkeep

    def delete_old(self, rows_before_us: int, quarters_before_us: int, unsent_before_us: int | None = None) -> bool:
        """Delete a slice of the rows that ended before one moment, and of the sums before the other.

        Rows that a database has not got yet stay until they ended before `unsent_before_us` (None: as all rows). The
        newest row stays too: SQLite would give its number to the next one, which then seemed to be sent already. True
        if more may be left. Raises `LedgerFault`.
        """
        unsent_us = rows_before_us if unsent_before_us is None else unsent_before_us
        quarter = quarters_before_us // QUARTER_US
        connection = self.connection
        with told(self.path), self._transaction():
            connection.execute(
                schema.DELETE_OLD,
                (SLICE_ROWS, rows_before_us, unsent_us),
            )
            is_full = connection.changes() == SLICE_ROWS
            for table in ("quarters", "worker_time"):
                oldest = f"SELECT min(quarter) FROM {table}"  # noqa: S608 - of our own words
                connection.execute(f"DELETE FROM {table} WHERE quarter = ({oldest}) AND quarter < ?", (quarter,))  # noqa: S608
                is_full = is_full or connection.changes() > 0
        return is_full

    def close(self) -> None:
        """Close it; the next process then knows that nothing is missing."""
        with told(self.path):
            try:
                with self._transaction():
                    self.connection.execute("UPDATE life SET is_open = 0")
            finally:
                self.connection.close(True)

    def drop(self) -> None:
        """Close it as it is, after a failure."""
        self.connection.close(True)
