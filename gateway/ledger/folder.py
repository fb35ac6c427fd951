"""The ledger's files as commands use them, beside the gateway processes that write them.

Reading disturbs no writer. Erasing changes a slice of rows at a time, so that the writer waits for milliseconds.
"""

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import orjson

from gateway.ledger import schema
from gateway.ledger.audit import Audit, audits_of
from gateway.ledger.faults import LedgerFault, told
from gateway.ledger.report import FIELDS, Period, Query, Subject
from gateway.wire.end_user import pseudonym

_WAIT_MS: Final = 10_000
_IDS_AT_ONCE: Final = 20_000
_ROWS_SORTED_AT_ONCE: Final = 1_000_000
_THREADS: Final = min(4, os.cpu_count() or 1)
# Most rows have none of these. They are summed apart: SQLite takes far longer to sort lines of more than 12 values.
_RARE: Final = ("estimated_tokens", "lost_prompt_tokens", "lost_output_tokens")
_USUAL_SUMS: Final = ("count(*)", *("0" if name in _RARE else f"sum({name})" for name in FIELDS[1:]))
_RARE_SUMS: Final = tuple(f"sum({name})" if name in _RARE else "0" for name in FIELDS)
_COUNTED: Final = (
    "SELECT name, sum(read_tokens), sum(generated_tokens) FROM worker_time JOIN names ON id = worker "
    "WHERE quarter >= ? AND quarter < ? GROUP BY worker"
)
# A stream tells how long its prompt is when it begins, every other answer when it ends.
_WORK: Final = (
    "SELECT w.name, sum(prompt_tokens * choices), "
    "sum(iif(estimated_tokens > 0 OR (ttft_us IS NULL AND o.name <> 'completed'), prompt_tokens * choices, 0)), "
    "sum(lost_prompt_tokens * choices), sum(output_tokens), sum(estimated_tokens), sum(lost_output_tokens), "
    "sum(iif(prompt_tokens > 0 AND o.name <> 'completed', choices, 0)) "
    "FROM requests JOIN names w ON w.id = worker JOIN names o ON o.id = outcome "
    "WHERE quarter >= ? AND quarter < ? GROUP BY worker"
)
# What is open counts with what it had used when it was noted last.
_USED = "prompt_tokens + output_tokens AS tokens, cost, money_nano"
_USED_BY_KEY: Final = (  # of our own words, as the next
    "SELECT t.name, k.name, sum(tokens), sum(cost), sum(money_nano) FROM "  # noqa: S608
    f"(SELECT tenant, key, {_USED} FROM quarters WHERE quarter >= ?1 AND quarter < ?2 "
    f"UNION ALL SELECT tenant, key, {_USED} FROM open WHERE quarter >= ?1 AND quarter < ?2) "
    "JOIN names t ON t.id = tenant JOIN names k ON k.id = key GROUP BY tenant, key"
)
_USED_BY_END_USER: Final = (
    "SELECT t.name, end_user, sum(tokens), sum(cost), sum(money_nano) FROM "  # noqa: S608
    f"(SELECT tenant, end_user, {_USED} FROM requests WHERE quarter >= ?1 AND quarter < ?2 "
    f"UNION ALL SELECT tenant, end_user, {_USED} FROM open WHERE quarter >= ?1 AND quarter < ?2) "
    "JOIN names t ON t.id = tenant WHERE end_user <> '' GROUP BY tenant, end_user"
)
_END_OF_TIME: Final = 2**40  # quarter hours
_END_USERS: Final = "SELECT end_user FROM requests UNION SELECT end_user FROM open"
_IS_END_USER: Final = "end_user IN (SELECT value FROM json_each(?))"
_QUARTER_SUMS: Final = tuple(f"sum({name})" for name in FIELDS)

T = TypeVar("T")


class LedgerFolder:
    """The files in one folder."""

    def __init__(self, path: Path) -> None:
        """The files at `path`; raises `LedgerFault` if there is none."""
        self.files = sorted(path.glob("*.sqlite"))
        if not self.files:
            raise LedgerFault(f"{path} has no ledger; one begins when a gateway with `ledger` starts")

    def parts(self, query: Query) -> Iterator[tuple[int, tuple[str, ...], tuple[float, ...]]]:
        """Sums by quarter hour (0 if time is not divided) and the names that `query` asks for; raises `LedgerFault`.

        Of the same names and period there may be several, which add up. Rows are read by several threads, a slice at a
        time: sorting them by name takes most of the time.
        """
        statements, figures = _statements(query), 1 + len(query.subjects)
        slices: Iterator[Callable[[], list[tuple[Any, ...]]]] = (
            partial(list, self._read(file, statement, query.first, query.end, *bounds))
            for file in self.files
            for bounds in (_slices(file) if query.needs_rows else [()])
            for statement in statements
        )
        for found in _side_by_side(slices):
            for line in found:
                yield line[0], line[1:figures], line[figures:]

    def audits(self, first: int, end: int) -> list[Audit]:
        """Tokens of each worker, of the quarter hours from `first` to before `end`; raises `LedgerFault`."""
        counted = (line for file in self.files for line in self._read(file, _COUNTED, first, end))
        work = (line for file in self.files for line in self._read(file, _WORK, first, end))
        return audits_of(counted, work)

    def writers(self) -> dict[Path, str]:
        """A name for each file that no file of another folder has, anywhere; raises `LedgerFault`."""
        place = self.files[0].with_name("folder.id")
        with told(place):
            if not place.exists():
                draft = place.with_name(f"folder.id.{os.getpid()}")
                draft.write_text(secrets.token_hex(8))
                with suppress(FileExistsError):
                    os.link(draft, place)
                draft.unlink()
            name = place.read_text()
        return {file: f"{name}/{file.stem}" for file in self.files}

    def used(self, first: int, *, by_end_user: bool) -> Iterator[tuple[Path, str, str, float, float, float]]:
        """What was used since the quarter hour `first`, open requests included; raises `LedgerFault`.

        Each item has the file, a tenant, a key of it or (`by_end_user`) an end user, tokens, cost units, and money in
        billionths.
        """
        for file in self.files:
            for line in self._read(file, _USED_BY_END_USER if by_end_user else _USED_BY_KEY, first, _END_OF_TIME):
                yield file, *line

    def _read(self, file: Path, statement: str, *bounds: int) -> Iterator[Any]:
        with told(file):
            connection = _opened(file, apsw.SQLITE_OPEN_READONLY)
            try:
                yield from connection.execute(statement, bounds)
            finally:
                connection.close(True)

    def forget(self, end_user: str) -> int:
        """Remove the end user of this pseudonym from all rows, which have it or the name; returns from how many."""
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
    """A connection to a file whose tables are not newer than ours."""
    connection = apsw.Connection(str(file), flags=flags)
    connection.set_busy_timeout(_WAIT_MS)
    version = connection.pragma("user_version")
    if not schema.READABLE <= version <= schema.VERSION:  # a file that no gateway opens any more keeps its version
        connection.close(True)
        raise LedgerFault(f"{file} has tables of version {version}, this vtc-gateway reads up to {schema.VERSION}")
    return connection


def _slices(file: Path) -> Iterator[tuple[int, int]]:
    """The numbers of the rows of `file`, divided into slices: from the first to before the second."""
    with told(file):
        connection = _opened(file, apsw.SQLITE_OPEN_READONLY)
        try:
            ((first, last),) = connection.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM requests")
        finally:
            connection.close(True)
    for start in range(first, last + 1, _ROWS_SORTED_AT_ONCE):
        yield start, min(start + _ROWS_SORTED_AT_ONCE, last + 1)


def _side_by_side(calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each of `calls` returns, in their order; some run at a time, and few results wait to be taken."""
    with ThreadPoolExecutor(_THREADS) as threads:
        running: deque[Future[T]] = deque()
        for call in calls:
            running.append(threads.submit(call))
            if len(running) > _THREADS:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _statements(query: Query) -> Sequence[str]:
    """What finds the parts of `query` in a file; of rows only those of a slice."""
    if not query.needs_rows:
        return (_statement(query, "quarters", _QUARTER_SUMS, ""),)
    has_rare = " OR ".join(f"{name} > 0" for name in _RARE)
    return (
        _statement(query, "requests", _USUAL_SUMS, "AND id >= ? AND id < ?"),
        _statement(query, "requests", _RARE_SUMS, f"AND id >= ? AND id < ? AND ({has_rare})"),
    )


def _statement(query: Query, table: str, sums: Sequence[str], further: str) -> str:
    is_divided = query.period is not Period.ALL
    groups = ", ".join([*(["quarter"] if is_divided else []), *query.subjects])
    columns = ", ".join(["quarter" if is_divided else "0", *map(_name, query.subjects), *sums])
    # Of our own words: subjects are a closed list.
    return f"SELECT {columns} FROM {table} WHERE quarter >= ? AND quarter < ? {further} GROUP BY {groups}"  # noqa: S608


def _name(subject: Subject) -> str:
    if subject is Subject.END_USER:
        return subject.value
    return f"(SELECT name FROM names WHERE id = {subject.value})"  # noqa: S608 - as above


def _forget(file: Path, end_user: str) -> int:
    with told(file):
        connection = _opened(file, apsw.SQLITE_OPEN_READWRITE)
        try:
            kept = (text for (text,) in connection.execute(_END_USERS) if text)
            texts = orjson.dumps([text for text in kept if end_user in (text, pseudonym(text))]).decode()
            connection.execute("PRAGMA secure_delete = ON")
            ((last,),) = connection.execute("SELECT coalesce(max(id), 0) FROM requests")
            before = connection.total_changes()
            for first in range(0, last + 1, _IDS_AT_ONCE):
                connection.execute(
                    f"UPDATE requests SET end_user = '' WHERE id >= ? AND id < ? AND {_IS_END_USER}",  # noqa: S608 - ours
                    (first, first + _IDS_AT_ONCE, texts),
                )
            count = connection.total_changes() - before
            connection.execute(f"UPDATE open SET end_user = '' WHERE {_IS_END_USER}", (texts,))  # noqa: S608
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close(True)
    return int(count)
