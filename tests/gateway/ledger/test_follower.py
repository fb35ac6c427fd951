"""The follower on a real PostgreSQL: whatever fails in between, every row arrives once, and sums are those of rows."""

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import apsw
import pytest
from real_databases import PASSWORD, Postgres

from gateway.config import Postgres as PostgresTerms
from gateway.ledger import follower as follower_module
from gateway.ledger import outgoing
from gateway.ledger import writer as writer_module
from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.worker_times import WorkerTime
from gateway.ledger.writer import Delivery

from .books import NOON, check_sums, content, ids, row
from .fleet_books import FOR_EVER, Fleet, Sender

QUARTER_SECONDS = 900.0


@pytest.fixture
def fleet(running_server: Postgres, fleet_url: str) -> Fleet:
    return Fleet(running_server, fleet_url)


@pytest.fixture
def sender(tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    monkeypatch.setattr(follower_module, "GATHER_SECONDS", 0.02)
    monkeypatch.setattr(follower_module, "LONGEST_PAUSE_SECONDS", 0.1)
    sender = Sender(tmp_path, fleet.terms)
    yield sender
    sender.close()
    assert "ledger-follower" not in {thread.name for thread in threading.enumerate()}


def changed(random: Random) -> dict[str, object]:
    """A request of some tenant in some quarter hour."""
    granted = NOON + QUARTER_SECONDS * random.randrange(3)
    tokens = random.randrange(1000)
    return {"tenant": f"t{random.randrange(4)}", "granted": granted, "output_tokens": tokens, "service": tokens * 0.1}


def test_rows_follow_and_are_added_up(sender: Sender, fleet: Fleet) -> None:
    """Several transactions, in each of which rows of several tenants and quarter hours come together."""
    sender.start()
    random = Random(1)
    for number in range(300):
        sender.take(f"r{number}", **changed(random))
    sender.until_sent(300)
    assert fleet.ids() == sorted(ids(sender.path))
    fleet.check_sums()
    assert sender.close() == 0
    assert sender.reports == []
    assert sender.follower.snapshot().behind_rows == 0


def test_every_column_arrives_as_it_is(sender: Sender, fleet: Fleet) -> None:
    """Those that may be missing too."""
    expected = row("r1", ttft_seconds=None, granted=None)
    sender.start()
    sender.take("r1", ttft_seconds=None, granted=None)
    sender.until_sent(1)
    (found,) = fleet.query(f"SELECT {', '.join(expected._fields)} FROM vtc_ledger.requests")  # noqa: S608
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in expected]
    assert found == ["" if value == "None" else value for value in shown]


def test_more_rows_than_one_transaction_takes_go_without_a_pause(
    sender: Sender, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the files of a gateway that had no database before."""
    monkeypatch.setattr(follower_module, "GATHER_SECONDS", 1000.0)
    file = LedgerFile(sender.path)
    rows = 2 * outgoing.ROWS_AT_ONCE + 1
    file.write(1, Batch([row(f"r{number}") for number in range(rows)]))
    file.close()
    sender.start()
    sender.until_sent(rows)
    assert len(fleet.ids()) == rows
    fleet.check_sums()


def test_rows_wait_while_the_database_is_away(sender: Sender, fleet: Fleet, server: Postgres) -> None:
    """It is said once, with the place and without the password; the file keeps the rows, and they follow."""
    sender.start()
    sender.take("r1")
    sender.until_sent(1)
    server.kill()
    sender.take("r2", "r3")
    sender.until(lambda: sender.follower.snapshot().failures > 2)
    figures = sender.follower.snapshot()
    assert (figures.behind_rows, figures.sent_rows) == (2, 1)
    assert figures.failure and f"127.0.0.1:{server.port}" in figures.failure and PASSWORD not in figures.failure
    check_sums(sender.path)
    server.start()
    sender.until_sent(3)
    assert fleet.ids() == ["r1", "r2", "r3"]
    fleet.check_sums()
    sender.until(lambda: sender.reports[-1] is None)
    assert sender.follower.snapshot().failure == ""


def test_a_database_that_is_killed_again_and_again_has_each_row_once(
    sender: Sender, fleet: Fleet, server: Postgres
) -> None:
    """In the middle of its transactions: whether one was committed is then known to nobody."""
    sender.start()
    random, rows = Random(2), 0
    for life in range(4):
        for _ in range(100):
            sender.take(*(f"r{rows + each}" for each in range(20)), **changed(random))
            rows += 20
        sender.until(lambda: sender.follower.snapshot().sent_rows > 100 * life)  # noqa: B023 - called in this turn
        server.kill()
        server.start()
    sender.until(lambda: len(fleet.ids()) == rows)
    assert fleet.ids() == sorted(ids(sender.path))
    fleet.check_sums()


def test_silence_is_said_before_the_attempt_ends(
    sender: Sender, fleet: Fleet, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database behind a dead line answers nothing, for as long as an attempt may last."""
    monkeypatch.setattr(follower_module, "PATIENCE_SECONDS", 0.2)
    sender.start()
    sender.take("r1")
    sender.until_sent(1)
    server.freeze()
    sender.take("r2")
    sender.until(lambda: sender.follower.snapshot().failure)
    assert "has not answered" in sender.follower.snapshot().failure
    assert sender.follower.snapshot().failures == 0
    server.thaw()
    sender.until_sent(2)
    sender.until(lambda: sender.reports[-1] is None)
    assert fleet.ids() == ["r1", "r2"]


def test_a_slow_database_gets_its_rows_and_is_said_to_be_slow(
    sender: Sender, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, however many transactions are slow; a quick one ends it."""
    monkeypatch.setattr(follower_module, "PATIENCE_SECONDS", 0.1)
    sender.start()
    sender.take("r0")
    sender.until_sent(1)
    sender.until(lambda: not sender.reports or sender.reports[-1] is None)
    said = len(sender.reports)
    fleet.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;"
        "CREATE TRIGGER slow AFTER INSERT ON vtc_ledger.requests FOR EACH STATEMENT EXECUTE FUNCTION slow()"
    )
    for number in range(1, 4):
        sender.take(f"r{number}")
        sender.until_sent(1 + number)
        fleet.check_sums()
    sender.until(lambda: len(sender.reports) > said)
    assert "has not answered" in str(sender.reports[said])
    assert sender.follower.snapshot().failures == 0
    fleet.query("DROP TRIGGER slow ON vtc_ledger.requests")
    sender.until(lambda: sender.reports[-1] is None)
    assert fleet.ids() == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("database", "password", "words"),
    [
        ("postgres", "a-wrong-one", "correct the user or the password"),
        ("nowhere", None, "create the database"),
    ],
)
def test_a_wrong_address_is_said_with_what_helps(
    tmp_path: Path, running_server: Postgres, fleet: Fleet, database: str, password: str | None, words: str
) -> None:
    """No word of the password."""
    url = running_server.url(database) if password is None else running_server.url(database, password)
    sender = Sender(tmp_path, fleet.terms.model_copy(update={"url": url})).start()
    sender.take("r1")
    sender.until(lambda: sender.reports)
    assert words in str(sender.reports[0])
    assert "a-wrong-one" not in str(sender.reports[0]) and PASSWORD not in str(sender.reports[0])
    sender.until(lambda: sender.follower.snapshot().behind_rows == 1)
    assert sender.close() == 1


def test_a_full_local_disk_stops_nothing_that_is_in_the_file(sender: Sender, fleet: Fleet) -> None:
    """What was committed before is sent; what waits in memory follows when the file can be written."""
    files: list[LedgerFile] = []
    sender.writer._open_file = lambda path: files.append(LedgerFile(path)) or files[-1]  # type: ignore[func-returns-value]  # noqa: SLF001
    sender.start()
    sender.take("r0")
    sender.until_sent(1)
    (file,) = files
    file.connection.execute(f"PRAGMA max_page_count = {file.connection.pragma('page_count')}")
    for number in range(1, 801):
        sender.take(f"r{number}")
    sender.until(lambda: not sender.writer.works)
    file.connection.execute("PRAGMA max_page_count = 1000000")
    sender.until_sent(801)
    assert fleet.ids() == sorted(ids(sender.path))
    fleet.check_sums()


def test_what_the_file_forgot_to_have_sent_counts_once(sender: Sender, fleet: Fleet) -> None:
    """A note that was lost, or a file that was restored from a copy: all its rows are sent a second time."""
    sender.start()
    sender.take("r1", "r2")
    sender.until_sent(2)
    connection = apsw.Connection(str(sender.path))
    connection.execute("UPDATE sent SET request = 0, quarter = 0")
    connection.close()
    sender.take("r3")
    sender.until_sent(5)
    assert fleet.ids() == ["r1", "r2", "r3"]
    fleet.check_sums()


def test_an_end_without_the_database_leaves_rows_to_the_next_start(
    tmp_path: Path, sender: Sender, fleet: Fleet, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end tells how many; the next process sends them before it has a request."""
    monkeypatch.setattr(follower_module, "CLOSE_SECONDS", 0.5)
    sender.start()
    sender.take("r1")
    sender.until_sent(1)
    server.kill()
    sender.take("r2", "r3")
    sender.until(lambda: sender.follower.snapshot().behind_rows == 2)
    assert sender.close() == 2
    server.start()
    again = Sender(tmp_path, fleet.terms).start()
    again.until_sent(2)
    assert again.close() == 0
    assert fleet.ids() == ["r1", "r2", "r3"]


def test_an_end_with_the_database_sends_what_was_written_last(tmp_path: Path, fleet: Fleet) -> None:
    """Without waiting for the time in which rows gather."""
    sender = Sender(tmp_path, fleet.terms).start()
    sender.take("r1")
    sender.until_sent(1)
    sender.take("r2", "r3")
    assert sender.close() == 0
    assert fleet.ids() == ["r1", "r2", "r3"]


def test_files_that_share_rows_are_added_once(tmp_path: Path, fleet: Fleet) -> None:
    """Four at once, half of whose rows are the same, in other orders: none waits for ever, no sum counts twice."""
    senders = [Sender(tmp_path, fleet.terms, f"800{number}") for number in range(4)]
    for number, sender in enumerate(senders):
        random = Random(number)
        shared = [row(f"same-{each}", tenant=f"t{each % 5}") for each in range(1500)]
        rows = shared + [row(f"own-{number}-{each}", tenant=f"t{each % 5}") for each in range(1500)]
        random.shuffle(rows)
        file = LedgerFile(sender.path)
        file.write(1, Batch(rows))
        file.close()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.until_sent(3000)
        assert sender.close() == 0
        assert sender.follower.snapshot().failures == 0
    assert len(fleet.ids()) == 1500 + 4 * 1500
    fleet.check_sums()


def test_the_time_of_workers_is_that_of_the_file(sender: Sender, fleet: Fleet) -> None:
    """Its totals, however often they are sent; a quarter hour that is over is not sent again."""
    sender.start()
    for number in range(1, 4):
        sender.writer.take(Delivery([], [], [WorkerTime(5, "w0", 10, 20, 30, 40)]))
        total = ["5", "w0", *(str(each * number) for each in (10, 20, 30, 40))]
        sender.until(lambda: times(fleet) == [total])  # noqa: B023 - called in this turn
    sender.writer.take(Delivery([], [], [WorkerTime(6, "w0", 1, 2, 3, 4)]))
    sender.until(lambda: len(times(fleet)) == 2)
    sender.close()
    assert times(fleet) == [["5", "w0", "30", "60", "90", "120"], ["6", "w0", "1", "2", "3", "4"]]


def times(fleet: Fleet) -> list[list[str]]:
    """The time of workers in the database."""
    if fleet.query("SELECT to_regclass('vtc_ledger.worker_time')") == [[""]]:
        return []
    figures = "busy_us, idle_us, generated_tokens, read_tokens"
    return fleet.query(f"SELECT quarter, worker, {figures} FROM vtc_ledger.worker_time ORDER BY 1")  # noqa: S608


def test_rows_that_are_too_old_are_not_sent_and_those_that_were_sent_go(
    tmp_path: Path, sender: Sender, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was deleted is not counted again if it is sent again."""
    sender.start()
    sender.take("old")
    sender.until_sent(1)
    sender.close()
    connection = apsw.Connection(str(sender.path))
    connection.execute("UPDATE sent SET request = 0")
    connection.close()
    short = fleet.terms.model_copy(update={"rows_days": 1})
    again = Sender(tmp_path, short).start()
    again.until(lambda: again.follower.snapshot().lost_rows == 1)
    again.until(lambda: not fleet.ids())
    assert again.close() == 0
    assert fleet.query("SELECT requests FROM vtc_ledger.quarters") == [["1"]]


def test_rows_that_wait_outlive_the_days_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay as long as the database would keep them; sums go in their own time."""
    monkeypatch.setattr(writer_module, "UPKEEP_SECONDS", 0.02)
    terms = PostgresTerms(url="postgresql://127.0.0.1:1/nowhere", rows_days=FOR_EVER)
    sender = Sender(tmp_path, terms, rows_days=1, quarters_days=1).start()
    sender.take("r1", "r2")
    sender.until(lambda: sender.follower.snapshot().behind_rows == 2)
    sender.until(lambda: not content(sender.path, "SELECT * FROM quarters"))
    assert ids(sender.path) == ["r1", "r2"]
    sender.close()
