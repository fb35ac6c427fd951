"""What a file of the ledger holds and the database of the fleet has not got yet.

The file remembers up to which row it was sent. That is noted after the database has committed: what is sent a second
time after a failure is there already, and the database takes it once.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import apsw

from gateway.ledger import schema
from gateway.ledger.faults import LedgerFault, told
from gateway.ledger.rows import Row
from gateway.ledger.worker_times import WorkerTime

ROWS_AT_ONCE: Final = 1000
TIMES_AT_ONCE: Final = 5000
_WAIT_MS: Final = 5000  # for the writer, which has the file for milliseconds

_COLUMNS = ", ".join(  # of our own words, as every statement here
    f"(SELECT name FROM names WHERE id = {name})" if name in schema.NAMED else name  # noqa: S608
    for name in schema.COLUMNS
)
_ROWS = f"SELECT id, {_COLUMNS} FROM requests WHERE id > ? ORDER BY id LIMIT {ROWS_AT_ONCE}"  # noqa: S608
_TIMES = (
    "SELECT quarter, name, busy_us, idle_us, generated_tokens, read_tokens "  # noqa: S608
    f"FROM worker_time JOIN names ON id = worker WHERE quarter >= ? ORDER BY quarter LIMIT {TIMES_AT_ONCE}"
)


class Parcel(NamedTuple):
    """What goes to the database in one transaction, and what the file notes afterwards.

    `times` are totals of the file `book`: a quarter hour's may come again, and are larger then. `last_row` and
    `last_quarter` are the last ones of the parcel.
    """

    book: str
    rows: Sequence[Row]
    times: Sequence[WorkerTime]
    last_row: int
    last_quarter: int
    is_full: bool


class Outgoing:
    """A file as its follower uses it, beside the writer; open for one attempt, since a damaged file may be replaced."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`; raises `LedgerFault`."""
        self._path = path
        with told(path):
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self._connection.set_busy_timeout(_WAIT_MS)
            self._connection.execute("PRAGMA synchronous = NORMAL")  # a note that is lost costs nothing
            version = self._connection.pragma("user_version")
        if version != schema.VERSION:
            self._connection.close(True)
            raise LedgerFault(f"{path} has tables of version {version}, not {schema.VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close(True)

    def behind(self) -> int:
        """How many rows are not sent yet."""
        ((count,),) = self._read("SELECT coalesce((SELECT max(id) FROM requests), 0) - request FROM sent")
        return max(0, int(count))

    def parcel(self) -> Parcel:
        """The oldest rows that are not sent, and the figures of workers since then."""
        ((book, first, quarter),) = self._read("SELECT book, request, quarter FROM sent")
        found, times = self._read(_ROWS, first), [WorkerTime(*values) for values in self._read(_TIMES, quarter)]
        last_row = found[-1][0] if found else first
        is_full = len(found) == ROWS_AT_ONCE or len(times) == TIMES_AT_ONCE
        rows = [Row(*values) for _, *values in found]
        last_quarter = times[-1].quarter if times else quarter
        return Parcel(book, rows, times, last_row, last_quarter, is_full)

    def note(self, parcel: Parcel) -> None:
        """Note that the database has `parcel`."""
        with told(self._path):
            values = (parcel.last_row, parcel.last_quarter)
            self._connection.execute("UPDATE sent SET request = ?, quarter = ?", values)

    def _read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        with told(self._path):
            return list(self._connection.execute(query, values))
