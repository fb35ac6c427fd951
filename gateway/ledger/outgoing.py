"""What a file of the ledger holds and the database of the fleet has not got yet.

The file remembers up to which row it was sent. That is noted after the database has committed: what is sent a second
time after a failure is there already, and the database takes it once.
"""

import re
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import apsw

from gateway.ledger import schema
from gateway.ledger.faults import LedgerFault, told

ROWS_AT_ONCE: Final = 1000  # in one transaction
TIMES_AT_ONCE: Final = 5000
_WAIT_MS: Final = 5000  # for the writer, which has the file for milliseconds

_COLUMNS = ", ".join(  # of our own words, as every statement here
    f"(SELECT name FROM names WHERE id = {name})" if name in schema.NAMED else name  # noqa: S608
    for name in schema.COLUMNS
)
_ROWS = f"""
    SELECT count(*), count(*) FILTER (WHERE ended_us >= ?2), coalesce(max(id), ?1),
    json_group_array(json_array({_COLUMNS})) FILTER (WHERE ended_us >= ?2)
    FROM (SELECT * FROM requests WHERE id > ?1 ORDER BY id LIMIT ?3)
"""  # noqa: S608
_TIMES = """
    SELECT count(*), coalesce(max(quarter), ?1),
    json_group_array(json_array(quarter, name, busy_us, idle_us, generated_tokens, read_tokens))
    FROM (SELECT * FROM worker_time JOIN names ON id = worker WHERE quarter >= ?1 ORDER BY quarter LIMIT ?2)
"""
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class Parcel(NamedTuple):
    """What goes to the database in one transaction, and what the file notes afterwards.

    `rows` and `times` are arrays of JSON: SQLite makes them and PostgreSQL reads them, so that Python's lock, which the
    requests need, is not held for a thousand rows. `row_count` rows are sent and `old_count` left out. `times` are
    totals of the file `book`: those of a quarter hour may come again, and are larger then. `last_row` and
    `last_quarter` are the last ones of the parcel.
    """

    book: str
    rows: str
    row_count: int
    old_count: int
    times: str
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

    def parcel(self, since_us: int) -> Parcel:
        """The oldest rows that are not sent, but for those that ended before `since_us`, and the figures of workers."""
        ((book, first, quarter),) = self._read("SELECT book, request, quarter FROM sent")
        ((found, row_count, last_row, rows),) = self._read(_ROWS, first, since_us, ROWS_AT_ONCE)
        ((lines, last_quarter, times),) = self._read(_TIMES, quarter, TIMES_AT_ONCE)
        is_full = found == ROWS_AT_ONCE or lines == TIMES_AT_ONCE
        if "\\u0000" in rows:  # PostgreSQL's texts cannot hold a NUL; the name of an end user may have one
            rows = _NUL.sub(r"\1\\ufffd", rows)
        return Parcel(book, rows, row_count, found - row_count, times, last_row, last_quarter, is_full)

    def note(self, parcel: Parcel) -> None:
        """Note that the database has `parcel`."""
        with told(self._path):
            values = (parcel.last_row, parcel.last_quarter)
            self._connection.execute("UPDATE sent SET request = ?, quarter = ?", values)

    def _read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        with told(self._path):
            return list(self._connection.execute(query, values))
