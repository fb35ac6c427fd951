"""A file of the ledger: what is in it after each transaction, each failure and each start."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from gateway.ledger import schema
from gateway.ledger.faults import LedgerCorrupt, LedgerFault
from gateway.ledger.file import SLICE_ROWS, Batch, LedgerFile, Lock
from gateway.ledger.rows import Grant, Noted, orphan_of
from gateway.ledger.worker_times import WorkerTime

from .books import NOON, check_sums, content, ids, open_request, row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "8000.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[LedgerFile]:
    opened = LedgerFile(path)
    yield opened
    opened.drop()


def noted(request_id: str) -> Batch:
    return Batch([], [orphan_of(Noted(open_request(request_id), Grant(NOON, None), NOON + 1))])


def test_rows_and_sums_are_there_after_a_batch(path: Path, file: LedgerFile) -> None:
    """Names are numbers into their table, sums are those of the rows, over several batches and quarters."""
    file.write(1, Batch([row("r1"), row("r2", tenant="bob", pool="large"), row("r3")]))
    file.write(2, Batch([row("r4"), row("r5", granted=NOON + 900), row("r6", granted=None, tenant="bob")]))
    assert ids(path) == ["r1", "r2", "r3", "r4", "r5", "r6"]
    check_sums(path)
    assert len(content(path, "SELECT * FROM quarters")) == 4
    named = content(path, "SELECT n.name, count(*) FROM requests JOIN names n ON n.id = tenant GROUP BY n.name")
    assert dict(named) == {"alice": 4, "bob": 2}


def test_a_batch_that_is_written_again_counts_once(path: Path, file: LedgerFile) -> None:
    """After a failure nobody knows whether it was committed; its number tells."""
    file.write(1, Batch([row("r1")]))
    file.write(1, Batch([row("r1")]))
    assert (ids(path), file.last_batch()) == (["r1"], 1)
    check_sums(path)


def test_a_batch_that_fails_leaves_nothing(path: Path, file: LedgerFile) -> None:
    """Neither rows nor names of it: the next batch numbers them anew."""
    with pytest.raises(LedgerFault):
        file.write(1, Batch([row("r1"), row("r2")._replace(prompt_tokens="many")]))  # type: ignore[arg-type]
    assert ids(path) == []
    file.write(1, Batch([row("r3")]))
    assert content(path, "SELECT name FROM requests JOIN names n ON n.id = tenant") == [("alice",)]


def test_a_full_disk_is_told_and_survived(path: Path, file: LedgerFile) -> None:
    """The batch that failed is written once there is room."""
    pages = file.connection.pragma("page_count")
    file.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    batch = Batch([row(f"r{number}") for number in range(1000)])
    with pytest.raises(LedgerFault, match="is full"):
        file.write(1, batch)
    file.connection.execute("PRAGMA max_page_count = 1000000")
    file.write(1, batch)
    assert len(ids(path)) == 1000
    check_sums(path)


def test_a_transaction_of_another_program_is_told(path: Path, file: LedgerFile) -> None:
    """It is waited for, but not for ever."""
    file.connection.set_busy_timeout(1)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerFault, match="locked"):
        file.write(1, Batch([row("r1")]))
    other.execute("ROLLBACK")
    other.close()
    file.write(1, Batch([row("r1")]))
    assert ids(path) == ["r1"]


def test_what_was_open_becomes_an_orphan(path: Path, file: LedgerFile) -> None:
    """After a kill the next start closes what was noted last and had not ended; what ended is not there twice."""
    file.write(1, Batch([], [*noted("r1").notes, *noted("r2").notes]))
    file.write(2, Batch([row("r1")], noted("r2").notes))
    file.drop()
    again = LedgerFile(path)
    assert (again.was_clean, again.orphans) == (False, 1)
    again.close()
    found = content(path, "SELECT request_id, name, output_tokens FROM requests JOIN names n ON n.id = outcome")
    assert found == [("r1", "completed", 50), ("r2", "orphaned", 7)]
    check_sums(path)
    last = LedgerFile(path)
    assert (last.was_clean, last.orphans, len(ids(path))) == (True, 0, 2)
    last.close()


def test_a_request_that_is_noted_and_ends_in_one_batch_is_no_orphan(path: Path, file: LedgerFile) -> None:
    """What has gathered while the file could not be written goes into it together; so it does after a failure."""
    rows = Batch([row("r1")], noted("r1").notes)
    with pytest.raises(LedgerFault):
        file.write(1, Batch([*rows.rows, row("r2")._replace(prompt_tokens="many")], rows.notes))  # type: ignore[arg-type]
    file.write(1, noted("r1"))
    with pytest.raises(LedgerFault):
        file.write(2, Batch([*rows.rows, row("r2")._replace(prompt_tokens="many")], rows.notes))  # type: ignore[arg-type]
    file.write(2, rows)
    assert content(path, "SELECT * FROM open") == []
    file.drop()
    again = LedgerFile(path)
    assert (again.orphans, ids(path)) == (0, ["r1"])
    again.close()


def test_the_time_of_workers_adds_up(path: Path, file: LedgerFile) -> None:
    """By quarter hour and worker."""
    file.write(1, Batch([], [], [WorkerTime(5, "w0", 10, 20, 30, 40), WorkerTime(5, "w1", 1, 2, 3, 4)]))
    file.write(2, Batch([], [], [WorkerTime(5, "w0", 1, 2, 3, 4)]))
    found = content(path, "SELECT name, busy_us, idle_us, generated_tokens FROM worker_time JOIN names ON id = worker")
    assert sorted(found) == [("w0", 11, 22, 33), ("w1", 1, 2, 3)]


def test_old_rows_go_in_slices_and_old_sums_later(path: Path, file: LedgerFile) -> None:
    """No transaction deletes more than a slice; what is young enough stays."""
    old = [row(f"o{number}", granted=NOON, at=NOON) for number in range(SLICE_ROWS + 10)]
    file.write(1, Batch([*old, row("new", granted=NOON + 9000, at=NOON + 9000)]))
    cut = int((NOON + 1) * 1e6)
    assert file.delete_old(cut, 0)
    assert len(ids(path)) == 11
    assert not file.delete_old(cut, 0)
    assert (ids(path), len(content(path, "SELECT * FROM quarters"))) == (["new"], 2)
    assert not file.delete_old(int((NOON + 90000) * 1e6), 0)
    assert ids(path) == ["new"]  # the newest row stays, so that its number is not used again
    assert file.delete_old(0, int((NOON + 900) * 1e6))
    assert not file.delete_old(0, int((NOON + 900) * 1e6))
    assert len(content(path, "SELECT * FROM quarters")) == 1


def test_rows_that_wait_for_the_database_stay_longer(path: Path, file: LedgerFile) -> None:
    """Until they are sent, or too old for the database too."""
    file.write(1, Batch([row(f"r{number}", at=NOON + number) for number in range(4)]))
    file.connection.execute("UPDATE sent SET request = 1")
    all_us, second_us = int((NOON + 90) * 1e6), int((NOON + 1.5) * 1e6)
    assert not file.delete_old(all_us, 0, 0)
    assert ids(path) == ["r1", "r2", "r3"]
    assert not file.delete_old(all_us, 0, second_us)
    assert ids(path) == ["r2", "r3"]


def test_a_file_of_a_newer_gateway_is_refused_and_left_alone(path: Path) -> None:
    """A downgrade does not touch it."""
    LedgerFile(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(LedgerFault, match="newer vtc-gateway") as caught:
        LedgerFile(path)
    assert not isinstance(caught.value, LedgerCorrupt)


def test_a_file_of_an_older_gateway_is_brought_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step that is missing is made, once, and the rows stay."""
    first = LedgerFile(path)
    first.write(1, Batch([row("r1")]))
    first.close()
    steps = (*schema.STEPS, "ALTER TABLE requests ADD COLUMN tier TEXT NOT NULL DEFAULT 'standard'")
    monkeypatch.setattr(schema, "STEPS", steps)
    monkeypatch.setattr(schema, "VERSION", len(steps))
    for _ in range(2):
        LedgerFile(path).close()
    assert content(path, "SELECT request_id, tier FROM requests") == [("r1", "standard")]


def test_a_file_of_the_first_version_is_read_and_written_on(path: Path) -> None:
    """What its rows do not say is as if nobody had asked for it; what comes now is whole."""
    connection = apsw.Connection(str(path))
    connection.execute(schema.STEPS[0])
    connection.execute("PRAGMA user_version = 1")
    connection.execute("INSERT INTO worker_time VALUES (5, 1, 1, 1, 1)")
    connection.execute("INSERT INTO names VALUES (1, 'w0')")
    connection.close()
    file = LedgerFile(path)
    file.write(1, Batch([row("r1", choices=2)], [], [WorkerTime(5, "w0", 10, 20, 30, 40)]))
    file.close()
    assert content(path, "SELECT generated_tokens, read_tokens FROM worker_time") == [(31, 40)]
    assert content(path, "SELECT choices, prompt_nano, cached_nano, output_nano FROM requests") == [
        (2, 30_000, 4_000, 100_000)
    ]
    check_sums(path)


@pytest.mark.parametrize("damage", [b"no ledger" * 1000, b""])
def test_what_is_no_ledger_is_damaged(path: Path, damage: bytes) -> None:
    """A foreign file is; an empty one is a beginning."""
    path.write_bytes(damage)
    if damage:
        with pytest.raises(LedgerCorrupt):
            LedgerFile(path)
    else:
        LedgerFile(path).close()


def test_one_process_at_a_time(path: Path) -> None:
    """The lock is given back by whoever has it."""
    lock = Lock(path)
    with pytest.raises(LedgerFault, match="another gateway process"):
        Lock(path)
    lock.release()
    Lock(path).release()
