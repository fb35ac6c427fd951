"""The thread that writes the ledger: it alone writes rows into the file, so that no request waits for a disk.

Batches come through a queue and go into the file one transaction each; what has gathered meanwhile goes together. If
the file cannot be written (a full disk, an I/O error, a lock that another process has), the batch stays and is tried
again; up to `MAX_WAITING_ROWS` rows wait in memory, and what comes beyond is dropped and counted. A damaged file is
moved aside and a new one begun. After an unclean end the file is checked beside the writing. Old rows are deleted in
slices between two batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic, time
from typing import Final

from gateway.config import Ledger
from gateway.ledger.check import QuickCheck
from gateway.ledger.faults import LedgerCorrupt, LedgerFault
from gateway.ledger.file import Batch, LedgerFile, Lock
from gateway.ledger.rows import Ended, Noted, Row, orphan_of, row_of
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.ledger.worker_times import WorkerTime

MAX_WAITING_ROWS: Final = 100_000
RETRY_SECONDS: Final = 0.25
CLOSE_SECONDS: Final = 5.0
UPKEEP_SECONDS: Final = 3600.0
UPKEEP_RETRY_SECONDS: Final = 60.0
_ROWS_AT_ONCE: Final = 5000
_DAY_US: Final = 86_400_000_000
_SUFFIXES: Final = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the event loop hands over: requests that ended, requests that are open, the time of workers."""

    ended: list[Ended]
    noted: list[Noted]
    times: list[WorkerTime]


class LedgerWriter:
    """Writes one file; `report` is called in the writer's thread: with a reason when it fails, with None when it works.

    `moved` is called, in that thread, with the new place of a damaged file and with what was wrong; `wrote` when the
    file was opened, and when it has got rows.
    """

    def __init__(
        self,
        path: Path,
        terms: Ledger,
        report: Callable[[str | None], None],
        moved: Callable[[Path, str], None],
        open_file: Callable[[Path], LedgerFile] = LedgerFile,
        wrote: Callable[[], None] | None = None,
    ) -> None:
        """Nothing runs before `start`."""
        self._path = path
        self._terms = terms
        self._report = report
        self._moved = moved
        self._open_file = open_file
        self._wrote = wrote or (lambda: None)
        self._queue: SimpleQueue[Delivery | None] = SimpleQueue()
        self._closing = Event()
        self.tried: Final = Event()  # set once it has tried to open the file
        self._thread = Thread(target=self._run, name="ledger-writer", daemon=True)
        self._file: LedgerFile | None = None
        self._row_of = partial(row_of, end_users=terms.end_users)
        self._orphan_of = partial(orphan_of, end_users=terms.end_users)
        self._lock: Lock | None = None
        self._check: QuickCheck | None = None
        self._damage = ""  # what the check found
        self._upkeep_at = 0.0
        self._taken_rows = self._written_rows = self._dropped_rows = self._orphans = self._moved_files = 0
        self._reason: str | None = None

    # -- the event loop's side

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def take(self, delivery: Delivery) -> None:
        """Write `delivery` soon; what finds no place is dropped and counted. Never waits."""
        room = MAX_WAITING_ROWS - (self._taken_rows - self._written_rows)
        beyond = len(delivery.ended) - max(0, room)
        if beyond > 0:
            self._dropped_rows += beyond
            del delivery.ended[len(delivery.ended) - beyond :]
        self._taken_rows += len(delivery.ended)
        if delivery.ended or delivery.noted or delivery.times:
            self._queue.put(delivery)

    @property
    def works(self) -> bool:
        """True unless the last attempt to write has failed."""
        return self._reason is None

    def snapshot(self) -> LedgerSnapshot:
        """Its figures at this moment."""
        return LedgerSnapshot(
            self._reason or "",
            self._written_rows,
            self._taken_rows - self._written_rows,
            self._dropped_rows,
            self._orphans,
            self._moved_files,
        )

    def close(self) -> int:
        """Write what is queued and end the thread; returns how many rows could not be written in `CLOSE_SECONDS`."""
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)
        return self._taken_rows - self._written_rows

    # -- the thread

    def _run(self) -> None:
        try:
            self._write_all()
        except BaseException as error:
            self._say(f"its writer broke: {type(error).__name__}: {error}")
            raise
        finally:
            self._end()

    def _write_all(self) -> None:
        self._try_until_done(self._open)
        is_last = False
        while not is_last and not self._closing.is_set():
            self._upkeep()
            batch, is_last = self._gathered()
            self._write(batch)

    def _gathered(self) -> tuple[Batch, bool]:
        """What has come, as one batch; True if nothing more comes."""
        rows: list[Row] = []
        notes: list[Row] = []
        times: list[WorkerTime] = []
        try:
            delivery = self._queue.get(timeout=max(0.0, self._upkeep_at - monotonic()))
            while delivery is not None:
                rows += map(self._row_of, delivery.ended)
                notes += map(self._orphan_of, delivery.noted)
                times += delivery.times
                if len(rows) >= _ROWS_AT_ONCE:
                    break
                delivery = self._queue.get_nowait()
        except Empty:
            return Batch(rows, notes, times), False
        return Batch(rows, notes, times), delivery is None

    def _write(self, batch: Batch) -> None:
        if not (batch.rows or batch.notes or batch.times or self._damage):
            return
        number = 0

        def attempt() -> None:
            nonlocal number
            file = self._opened()
            number = number or file.last_batch() + 1
            file.write(number, batch)

        if self._try_until_done(attempt):
            self._written_rows += len(batch.rows)
            if batch.rows or batch.times:
                self._wrote()

    def _try_until_done(self, attempt: Callable[[], object]) -> bool:
        """Call `attempt` until it succeeds; False if the end comes first. What fails is reported once."""
        while True:
            try:
                if self._damage:
                    raise LedgerCorrupt(self._damage)
                attempt()
            except LedgerFault as fault:
                if isinstance(fault, LedgerCorrupt) and self._move_aside(str(fault)):
                    continue
                self._say(str(fault))
                if self._closing.wait(RETRY_SECONDS):
                    return False
            else:
                self._say(None)
                return True

    def _say(self, reason: str | None) -> None:
        self.tried.set()
        if reason != self._reason:
            self._reason = reason
            self._report(reason)

    # -- the file

    def _opened(self) -> LedgerFile:
        return self._file or self._open()

    def _open(self) -> LedgerFile:
        """Open the file; raises `LedgerFault`. Its lock is taken once and kept."""
        is_first = self._lock is None
        if self._lock is None:
            self._lock = Lock(self._path)
        file = self._file = self._open_file(self._path)
        self._orphans += file.orphans
        if is_first and not file.was_clean:
            self._check = QuickCheck(self._path, self._note_damage)
        self._wrote()
        return file

    def _note_damage(self, damage: str) -> None:
        self._damage = damage
        self._queue.put(Delivery([], [], []))  # wakes the writer

    def _move_aside(self, reason: str) -> bool:
        """Keep a damaged file under another name, for whoever may want to rescue it; False if that fails."""
        self._damage = ""
        if self._file is not None:
            self._file.drop()
            self._file = None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside = self._path.with_name(f"{self._path.name}.damaged-{stamp}")
        try:
            for suffix in _SUFFIXES:
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
        except OSError:
            return False
        self._moved_files += 1
        self._moved(aside, reason)
        return True

    def _upkeep(self) -> None:
        """Delete a slice of what is too old, if it is time to look."""
        if self._file is None or monotonic() < self._upkeep_at:
            return
        now_us = int(time() * 1e6)
        terms = self._terms
        unsent_days = terms.rows_days if terms.postgres is None else max(terms.rows_days, terms.postgres.rows_days)
        days = (terms.rows_days, terms.quarters_days, unsent_days)
        try:
            is_more = self._file.delete_old(*(now_us - each * _DAY_US for each in days))
        except LedgerFault:  # the next batch meets the same fault and says so
            self._upkeep_at = monotonic() + UPKEEP_RETRY_SECONDS
            return
        if not is_more:
            self._upkeep_at = monotonic() + UPKEEP_SECONDS

    def _end(self) -> None:
        if self._check is not None:
            self._check.stop()
        if self._file is not None:
            try:
                self._file.close()
            except LedgerFault:
                self._file.drop()
        if self._lock is not None:
            self._lock.release()
