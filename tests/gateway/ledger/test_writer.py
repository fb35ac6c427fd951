"""The writer's thread, on real files: what it does in trouble, and that nobody waits for it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import apsw
import pytest

from gateway.config import Ledger
from gateway.ledger import file as file_module
from gateway.ledger import writer as writer_module
from gateway.ledger.faults import LedgerFault
from gateway.ledger.file import Batch, LedgerFile, Lock
from gateway.ledger.recorder import FLUSH_SECONDS
from gateway.ledger.writer import Delivery, LedgerWriter

from .books import check_sums, content, ended, ids, row
from .disk import Disk, faulty_disk

STUCK_SECONDS = 60.0


class Kept:
    """A writer, and what it has reported."""

    def __init__(self, folder: Path, **terms: int) -> None:
        self.path = folder / "8000.sqlite"
        self.files: list[LedgerFile] = []
        self.reports: list[str | None] = []
        self.disk: Disk | None = None
        self.slept_us: list[int] = []  # for how long SQLite had waited for locks of others at each report
        self.moved: list[tuple[Path, str]] = []
        self.writer = LedgerWriter(
            self.path,
            Ledger.model_validate({"folder": folder, **terms}),
            self.report,
            lambda place, reason: self.moved.append((place, reason)),
            self._opened,
        )

    def _opened(self, path: Path) -> LedgerFile:
        self.files.append(LedgerFile(path))
        return self.files[-1]

    def take(self, *request_ids: str) -> None:
        """Hand over the ends of requests."""
        self.writer.take(Delivery([ended(request_id) for request_id in request_ids], [], []))

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for the thread."""
        end = monotonic() + STUCK_SECONDS
        while not holds():
            assert monotonic() < end, f"waited in vain: {self.writer.snapshot()}, {self.reports}"
            sleep(0.002)

    def report(self, reason: str | None) -> None:
        """Called by the thread."""
        self.slept_us.append(self.disk.slept_us if self.disk else 0)
        self.reports.append(reason)

    def until_written(self, rows: int) -> None:
        """Wait until so many rows are in the file."""
        self.until(lambda: self.writer.snapshot().written_rows == rows)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    kept = Kept(tmp_path / "ledger")
    yield kept
    kept.writer.close()
    assert "ledger-writer" not in {thread.name for thread in threading.enumerate()}


def test_what_ended_is_in_the_file_and_the_end_is_clean(kept: Kept) -> None:
    """The folder is made, and the next start has nothing to check."""
    kept.writer.start()
    kept.take("r1", "r2")
    kept.take("r3")
    assert kept.writer.close() == 0
    assert (ids(kept.path), kept.reports) == (["r1", "r2", "r3"], [])
    check_sums(kept.path)
    again = LedgerFile(kept.path)
    assert again.was_clean
    again.close()


def test_a_lock_is_waited_for_behind_the_queue(kept: Kept) -> None:
    """A process that goes away has the file still: this is said at once, rows wait, and follow."""
    lock = Lock(kept.path)
    kept.writer.start()
    kept.take("r1")
    kept.until(lambda: kept.reports)
    assert kept.reports[0] is not None and "another gateway process" in kept.reports[0]
    assert (kept.writer.works, kept.writer.snapshot().waiting_rows) == (False, 1)
    lock.release()
    kept.until_written(1)
    assert (kept.reports[1:], kept.writer.works, ids(kept.path)) == ([None], True, ["r1"])


def test_a_full_disk_is_said_once_and_rows_follow(kept: Kept) -> None:
    """No row is lost, none is there twice."""
    kept.writer.start()
    kept.take("r0")
    kept.until_written(1)
    (file,) = kept.files
    file.connection.execute(f"PRAGMA max_page_count = {file.connection.pragma('page_count')}")
    for number in range(40):
        kept.take(*(f"r{number}-{part}" for part in range(20)))
    kept.until(lambda: kept.reports)
    sleep(0.05)
    assert len(kept.reports) == 1 and "is full" in str(kept.reports[0])
    file.connection.execute("PRAGMA max_page_count = 1000000")
    kept.until_written(801)
    assert (len(set(ids(kept.path))), len(ids(kept.path)), kept.reports[1:]) == (801, 801, [None])
    check_sums(kept.path)


def test_a_hundred_thousand_rows_wait_and_what_comes_beyond_is_counted(kept: Kept) -> None:
    """Memory has a bound; what waits already stays, and follows."""
    lock = Lock(kept.path)
    kept.writer.start()
    kept.take(*(f"r{number}" for number in range(99_999)))
    kept.take("last", "dropped")
    kept.take("dropped")
    figures = kept.writer.snapshot()
    assert (figures.waiting_rows, figures.dropped_rows) == (100_000, 2)
    lock.release()
    kept.until_written(100_000)
    assert content(kept.path, "SELECT count(*), count(DISTINCT request_id) FROM requests") == [(100_000, 100_000)]
    assert ids(kept.path)[-1] == "last"
    check_sums(kept.path)


def test_a_lock_of_another_program_is_said_within_a_second(kept: Kept) -> None:
    """So long SQLite waits for it at most, and the recorder for more ends before that."""
    with faulty_disk() as kept.disk:
        kept.writer.start()
        kept.take("r1")
        kept.until_written(1)
        other = apsw.Connection(str(kept.path))
        other.execute("BEGIN IMMEDIATE")
        kept.take("r2")
        kept.until(lambda: kept.reports)
        assert kept.reports[0] is not None and "is locked" in kept.reports[0]
        assert 0 < kept.slept_us[0] + FLUSH_SECONDS * 1e6 < 1e6
        other.execute("ROLLBACK")
        other.close()
        kept.until_written(2)
        assert kept.writer.close() == 0


def test_an_end_in_trouble_says_how_many_rows_are_lost(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for ever."""
    monkeypatch.setattr(writer_module, "CLOSE_SECONDS", 0.05)
    lock = Lock(kept.path)
    kept.writer.start()
    kept.take("r1", "r2")
    assert kept.writer.close() == 2
    lock.release()


def test_a_damaged_file_is_moved_aside(kept: Kept) -> None:
    """It stays for whoever wants to rescue it; a new one begins, and no row is lost."""
    kept.path.parent.mkdir()
    kept.path.write_bytes(b"damage" * 4096)
    kept.writer.start()
    kept.take("r1")
    kept.until_written(1)
    ((place, reason),) = kept.moved
    assert place.read_bytes() == b"damage" * 4096 and "is damaged" in reason
    assert (ids(kept.path), kept.writer.snapshot().moved_files, kept.reports) == (["r1"], 1, [])


def test_damage_inside_is_found_after_an_unclean_end(kept: Kept) -> None:
    """The whole file is read beside the writing, which its beginning alone would not notice."""
    kept.path.parent.mkdir()
    file = LedgerFile(kept.path)
    file.write(1, Batch([row(f"r{number}") for number in range(2000)]))
    file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = file.connection.pragma("page_size")
    file.drop()
    content_before = bytearray(kept.path.read_bytes())
    middle = len(content_before) // page // 2 * page
    content_before[middle : middle + page] = b"\xff" * page
    kept.path.write_bytes(content_before)
    kept.writer.start()
    kept.until(lambda: kept.moved)
    kept.take("new")
    kept.until_written(1)
    assert ids(kept.path) == ["new"]


def test_a_clean_file_is_not_checked(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only after an unclean end is it worth reading all."""
    checked: list[Path] = []
    monkeypatch.setattr(writer_module, "QuickCheck", lambda path, _: checked.append(path))
    kept.path.parent.mkdir()
    LedgerFile(kept.path).close()
    kept.writer.start()
    kept.take("r1")
    kept.until_written(1)
    assert checked == []


def test_the_check_holds_up_no_row(kept: Kept) -> None:
    """However long it takes to read the whole file, rows are written beside it."""
    with faulty_disk() as disk:
        kept.path.parent.mkdir()
        file = LedgerFile(kept.path)
        file.write(1, Batch([row("r1")]))
        file.drop()
        disk.held_thread = "ledger-check"
        disk.goes_on.clear()
        kept.writer.start()
        kept.take("r2")
        kept.until_written(1)
        assert "ledger-check" in {thread.name for thread in threading.enumerate()}
        disk.goes_on.set()
        assert (kept.writer.close(), kept.moved) == (0, [])


def test_old_rows_go_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of these tests ended long ago: they are written, and deleted because of their age, but the newest."""
    monkeypatch.setattr(writer_module, "UPKEEP_SECONDS", 0.02)
    kept = Kept(tmp_path, rows_days=1, quarters_days=1)
    kept.writer.start()
    kept.take("old", "newest")
    kept.until_written(2)
    kept.until(lambda: not content(kept.path, "SELECT quarter FROM quarters"))
    kept.until(lambda: ids(kept.path) == ["newest"])
    kept.writer.close()


def test_upkeep_that_fails_is_not_repeated_at_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that is full the thread would otherwise do nothing else."""
    tries: list[int] = []

    def fails(*moments: int) -> bool:
        tries.append(len(tries))
        raise LedgerFault("the disk is full")

    monkeypatch.setattr(LedgerFile, "delete_old", lambda file, *moments: fails(*moments))
    kept.writer.start()
    for rows in range(1, 6):
        kept.take(f"r{rows}")
        kept.until_written(rows)
    assert tries == [0]


def test_old_rows_of_an_idle_gateway_go_slice_by_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be written for that."""
    monkeypatch.setattr(file_module, "SLICE_ROWS", 10)
    kept = Kept(tmp_path, rows_days=1)
    file = LedgerFile(kept.path)
    file.write(1, Batch([row(f"r{number}") for number in range(95)]))
    file.close()
    kept.writer.start()
    kept.until(lambda: len(ids(kept.path)) <= 1)
    kept.writer.close()


def test_a_report_reads_beside_the_writer(kept: Kept) -> None:
    """A reader's transaction does not hold up the writer."""
    kept.writer.start()
    kept.take("r1")
    kept.until_written(1)
    reader = apsw.Connection(str(kept.path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    assert list(reader.execute("SELECT count(*) FROM requests")) == [(1,)]
    kept.take("r2")
    kept.until_written(2)
    reader.close()
