"""The ledger's files as commands use them, beside the gateway processes that write them.

Reading disturbs no writer. Erasing changes a slice of rows at a time, so that the writer waits for milliseconds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from gateway.ledger import schema
from gateway.ledger.audit import Audit
from gateway.ledger.faults import LedgerFault, told
from gateway.ledger.report import FIELDS, Query, Subject

_WAIT_MS: Final = 10_000
_IDS_AT_ONCE: Final = 20_000
_ROW_SUMS: Final = ("count(*)", *(f"sum({name})" for name in FIELDS[1:]))
_GENERATED: Final = (
    "SELECT name, sum(generated_tokens) FROM worker_time JOIN names ON id = worker "
    "WHERE quarter >= ? AND quarter < ? GROUP BY worker"
)
_WORK: Final = (
    "SELECT name, sum(output_tokens), sum(estimated_tokens), sum(lost_output_tokens) "
    "FROM requests JOIN names ON names.id = worker WHERE quarter >= ? AND quarter < ? GROUP BY worker"
)
_QUARTER_SUMS: Final = tuple(f"sum({name})" for name in FIELDS)


class LedgerFolder:
    """The files in one folder."""

    def __init__(self, path: Path) -> None:
        """The files at `path`; raises `LedgerFault` if there is none."""
        self.files = sorted(path.glob("*.sqlite"))
        if not self.files:
            raise LedgerFault(f"{path} has no ledger; one begins when a gateway with `ledger` starts")

    def parts(self, query: Query) -> Iterator[tuple[int, tuple[str, ...], tuple[float, ...]]]:
        """The sums of each file by quarter hour and the names that `query` asks for; raises `LedgerFault`."""
        for file in self.files:
            for quarter, *values in self._read(file, _statement(query), query.first, query.end):
                names = tuple(values[: len(query.subjects)])
                yield quarter, names, tuple(values[len(query.subjects) :])

    def audits(self, first: int, end: int) -> list[Audit]:
        """Each worker in the quarter hours from `first` to before `end`; raises `LedgerFault`.

        Every process of a gateway reads every engine, so that of their counts the largest is the engine's.
        """
        generated: dict[str, int] = {}
        rows: dict[str, list[int]] = {}
        for file in self.files:
            for worker, tokens in self._read(file, _GENERATED, first, end):
                generated[worker] = max(tokens, generated.get(worker, 0))
            for worker, *figures in self._read(file, _WORK, first, end):
                before = rows.get(worker, [0, 0, 0])
                rows[worker] = [one + other for one, other in zip(before, figures, strict=True)]
        workers = sorted((generated.keys() | rows.keys()) - {""})
        return [Audit(worker, generated.get(worker, 0), *rows.get(worker, (0, 0, 0))) for worker in workers]

    def _read(self, file: Path, statement: str, first: int, end: int) -> Iterator[tuple[Any, ...]]:
        with told(file):
            connection = _opened(file, apsw.SQLITE_OPEN_READONLY)
            try:
                yield from connection.execute(statement, (first, end))
            finally:
                connection.close(True)

    def forget(self, end_user: str) -> int:
        """Remove `end_user`, as it stands in the rows, from all of them; returns from how many."""
        return sum(_forget(file, end_user) for file in self.files)

    def back_up(self, to: Path) -> list[Path]:
        """Write a copy of each file, as it is at one moment, into the folder `to`; raises `LedgerFault`."""
        with told(to):
            to.mkdir(mode=0o700, parents=True, exist_ok=True)
        copies = [to / file.name for file in self.files]
        for file, copy in zip(self.files, copies, strict=True):
            with told(copy):
                connection = _opened(file, apsw.SQLITE_OPEN_READONLY)
                try:
                    connection.execute("VACUUM INTO ?", (str(copy),))
                finally:
                    connection.close(True)
        return copies


def _opened(file: Path, flags: int) -> apsw.Connection:
    """A connection to a file whose tables are of our version."""
    connection = apsw.Connection(str(file), flags=flags)
    connection.set_busy_timeout(_WAIT_MS)
    version = connection.pragma("user_version")
    if version != schema.VERSION:
        connection.close(True)
        raise LedgerFault(f"{file} has tables of version {version}, this vtc-gateway reads version {schema.VERSION}")
    return connection


def _statement(query: Query) -> str:
    table, sums = ("requests", _ROW_SUMS) if query.needs_rows else ("quarters", _QUARTER_SUMS)
    names = [_name(subject) for subject in query.subjects]
    groups = ", ".join(["quarter", *(subject.value for subject in query.subjects)])
    columns = ", ".join(["quarter", *names, *sums])
    # Of our own words: subjects are a closed list.
    return f"SELECT {columns} FROM {table} WHERE quarter >= ? AND quarter < ? GROUP BY {groups}"  # noqa: S608


def _name(subject: Subject) -> str:
    if subject is Subject.END_USER:
        return subject.value
    return f"(SELECT name FROM names WHERE id = {subject.value})"  # noqa: S608 - as above


def _forget(file: Path, end_user: str) -> int:
    with told(file):
        connection = _opened(file, apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            ((last,),) = connection.execute("SELECT coalesce(max(id), 0) FROM requests")
            before = connection.total_changes()
            for first in range(0, last + 1, _IDS_AT_ONCE):
                connection.execute(
                    "UPDATE requests SET end_user = '' WHERE id >= ? AND id < ? AND end_user = ?",
                    (first, first + _IDS_AT_ONCE, end_user),
                )
            count = connection.total_changes() - before
            connection.execute("UPDATE open SET end_user = '' WHERE end_user = ?", (end_user,))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close(True)
    return int(count)
