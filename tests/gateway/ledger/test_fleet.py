"""The tables of a fleet in PostgreSQL: their versions, what commands read of them, and gateways that are killed."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC
from pathlib import Path
from random import Random

import orjson
import pytest
from real_databases import Postgres

from gateway.config import Postgres as PostgresTerms
from gateway.ledger import database_schema
from gateway.ledger.database import LedgerDatabase
from gateway.ledger.faults import LedgerFault
from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.fleet import LedgerFleet
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.report import Period, Query, Subject, lines
from gateway.ledger.rows import Row
from gateway.ledger.worker_times import WorkerTime
from gateway.outcomes import Outcome
from gateway.wire.end_user import pseudonym

from .books import NOON, check_sums, ids, row
from .fleet_books import Fleet, Sender

ROOT = Path(__file__).parents[3]
LIVES = 3  # of one file; each ends with a kill
CASES = int(os.environ.get("LEDGER_KILLS", "6")) // LIVES


@pytest.fixture
def fleet(running_server: Postgres, fleet_url: str) -> Fleet:
    return Fleet(running_server, fleet_url)


async def brought_up(terms: PostgresTerms) -> None:
    """Connect as a gateway does."""
    database = await LedgerDatabase.open(terms)
    try:
        await database.bring_up()
    finally:
        await database.close()


def rows_of(random: Random, prefix: str) -> list[Row]:
    """Requests of several tenants, end users, outcomes and hours."""
    return [
        row(
            f"{prefix}-{number}",
            tenant=f"t{random.randrange(3)}",
            granted=NOON + 900 * random.randrange(8),
            end_user=f"u{random.randrange(3)}",
            choices=random.randrange(1, 4),
            outcome=random.choice((Outcome.COMPLETED, Outcome.CLIENT_GONE_STREAMING)),
            output_tokens=random.randrange(1000),
            estimated_tokens=random.choice((0, 0, 7)),
            lost_prompt_tokens=random.randrange(10),
            lost_output_tokens=random.randrange(10),
            worker=f"w{random.randrange(2)}",
        )
        for number in range(200)
    ]


def sent(folder: Path, fleet: Fleet, name: str, batch: Batch) -> None:
    """Write `batch` into a file, and send it."""
    folder.mkdir(exist_ok=True)
    file = LedgerFile(folder / f"{name}.sqlite")
    file.write(1, batch)
    file.close()
    sender = Sender(folder, fleet.terms, name).start()
    sender.until(lambda: sender.follower.snapshot().sent_rows)
    assert sender.close() == 0


def test_reports_are_those_of_the_files(tmp_path: Path, fleet: Fleet) -> None:
    """Of every subject and period, and the audit too: files of two gateways in one folder know the same."""
    random = Random(7)
    for name in ("8000", "8001"):
        times = [
            WorkerTime(quarter, "w0", 1, 2, 3 * random.randrange(9), 4 * random.randrange(9)) for quarter in range(3)
        ]
        sent(tmp_path, fleet, name, Batch(rows_of(random, name), [], times))
    folder, database = LedgerFolder(tmp_path), LedgerFleet(fleet.terms)
    for subjects in [(Subject.TENANT,), (Subject.END_USER, Subject.OUTCOME), (Subject.WORKER,), tuple(Subject)]:
        for period in Period:
            query = Query(0, 10_000_000, UTC, subjects, period)
            expected, found = (lines(query, source.parts(query)) for source in (folder, database))
            assert [line[:2] for line in found] == [line[:2] for line in expected]
            assert [line.sums for line in found] == [pytest.approx(line.sums) for line in expected]
    assert database.audits(0, 10_000_000) == folder.audits(0, 10_000_000)
    first, *_ = database.audits(0, 10_000_000)
    assert first.counted and first.charged and first.lost and first.broken and first.estimated


def test_a_report_without_a_ledger_is_refused(fleet: Fleet) -> None:
    """A database in which no gateway has made tables, and one that is not there."""
    with pytest.raises(LedgerFault, match="has no ledger"):
        LedgerFleet(fleet.terms).audits(0, 1)
    with pytest.raises(LedgerFault, match="cannot be reached"):
        LedgerFleet(PostgresTerms(url="postgresql://127.0.0.1:1/nowhere")).audits(0, 1)


def test_an_end_user_is_removed_with_the_rows_that_are_on_their_way(tmp_path: Path, fleet: Fleet) -> None:
    """To forget waits for whoever adds rows at the moment; rows and sums stay."""
    sent(tmp_path, fleet, "8000", Batch(rows_of(Random(3), "a")))

    async def story() -> int:
        adding, forgetting = await LedgerDatabase.open(fleet.terms), await LedgerDatabase.open(fleet.terms)
        async with adding.connection.transaction():
            await adding.connection.execute(database_schema.SHARE)
            late = orjson.dumps([list(row("late", end_user="u1"))]).decode()
            await adding.connection.execute(database_schema.ADD_REQUESTS, late)
            forgotten = asyncio.create_task(forgetting.forget("u1"))
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not await adding.connection.fetchval(waits):
                continue
            assert not forgotten.done()
        count = await forgotten
        await adding.close()
        await forgetting.close()
        return count

    expected = sum(each.end_user == "u1" for each in rows_of(Random(3), "a"))
    assert asyncio.run(story()) == expected + 1
    assert fleet.query("SELECT count(*) FROM vtc_ledger.requests WHERE end_user = 'u1'") == [["0"]]
    assert fleet.query("SELECT count(*) FROM vtc_ledger.requests") == [["201"]]
    fleet.check_sums()


def test_an_end_user_by_name_is_found_by_its_pseudonym(tmp_path: Path, fleet: Fleet) -> None:
    """As in the files; a character that PostgreSQL's texts cannot hold stops no row."""
    plain = [
        row(f"r{number}")._replace(end_user=name) for number, name in enumerate(("érika", "erika", "a\0\\u0000b", ""))
    ]
    sent(tmp_path, fleet, "8000", Batch(plain))
    assert LedgerFleet(fleet.terms).forget(pseudonym("érika")) == 1
    assert LedgerFolder(tmp_path).forget(pseudonym("érika")) == 1
    found = fleet.query("SELECT end_user FROM vtc_ledger.requests ORDER BY request_id")
    assert found == [[""], ["erika"], ["a\ufffd\\u0000b"], [""]]


def test_tables_of_a_newer_gateway_are_refused_and_left_alone(tmp_path: Path, fleet: Fleet) -> None:
    """Rows wait in the file: a downgrade loses none."""
    sent(tmp_path, fleet, "8000", Batch([row("r1")]))
    fleet.query(f"UPDATE vtc_ledger.version SET version = {database_schema.VERSION + 1}")  # noqa: S608
    sender = Sender(tmp_path, fleet.terms).start()
    sender.take("r2")
    sender.until(lambda: sender.reports)
    assert "newer vtc-gateway" in str(sender.reports[0])
    assert sender.close() == 1
    assert fleet.ids() == ["r1"]
    with pytest.raises(LedgerFault, match="newer vtc-gateway"):
        LedgerFleet(fleet.terms).audits(0, 1)


def test_tables_of_an_older_gateway_are_brought_up_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one of several gateways that start at once; the others find them."""
    asyncio.run(brought_up(fleet.terms))
    steps = (*database_schema.STEPS, "ALTER TABLE vtc_ledger.requests ADD COLUMN tier text NOT NULL DEFAULT ''")
    monkeypatch.setattr(database_schema, "STEPS", steps)
    monkeypatch.setattr(database_schema, "VERSION", len(steps))

    async def at_once() -> None:
        await asyncio.gather(*(brought_up(fleet.terms) for _ in range(5)))

    asyncio.run(at_once())
    assert fleet.query("SELECT version FROM vtc_ledger.version") == [[str(len(steps))]]


def test_gateways_that_start_at_once_make_the_tables_once(fleet: Fleet) -> None:
    """The first start of a fleet."""

    async def at_once() -> None:
        await asyncio.gather(*(brought_up(fleet.terms) for _ in range(8)))

    asyncio.run(at_once())
    assert fleet.query("SELECT version FROM vtc_ledger.version") == [[str(database_schema.VERSION)]]


def test_a_database_in_another_encoding_is_refused(fleet: Fleet, running_server: Postgres) -> None:
    """Names may have any character."""
    name = f"{fleet.name}_latin"
    running_server.query(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(LedgerFault, match="UTF8"):
        asyncio.run(brought_up(PostgresTerms(url=running_server.url(name))))


def test_a_user_that_may_do_too_little_is_told_what_it_needs(fleet: Fleet, running_server: Postgres) -> None:
    """It may use tables that others made for it, and not make them."""
    user = f"{fleet.name}_user"
    running_server.query(f"CREATE USER {user} PASSWORD 'small'")
    url = running_server.url(fleet.name).replace("vtc:", f"{user}:").replace("it%27s%20100%25%20secret", "small")
    with pytest.raises(LedgerFault, match="GRANT CREATE ON DATABASE"):
        asyncio.run(brought_up(PostgresTerms(url=url)))
    asyncio.run(brought_up(fleet.terms))
    fleet.query(f"GRANT USAGE ON SCHEMA vtc_ledger TO {user}; GRANT ALL ON ALL TABLES IN SCHEMA vtc_ledger TO {user}")
    asyncio.run(brought_up(PostgresTerms(url=url)))


def killed(path: Path, url: str, life: int, lines: int) -> None:
    """Run a gateway's ledger until it has said so often that it sent rows, and kill it."""
    command = [sys.executable, "-m", "tests.gateway.ledger.sending", str(path), url, str(life)]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as child:
        assert child.stdout is not None
        assert all(child.stdout.readline() for _ in range(lines)), "the program ended by itself"
        child.kill()


@pytest.mark.parametrize("seed", range(CASES))
def test_gateways_and_a_database_that_are_killed_leave_each_row_once(
    tmp_path: Path, fleet: Fleet, server: Postgres, seed: int
) -> None:
    """SIGKILL of the gateway in its transactions, then of the database too: what is in the file comes to be there."""
    path, random = tmp_path / "8000.sqlite", Random(seed)
    for life in range(LIVES):
        killed(path, fleet.url, life, random.randrange(1, 12))
        if random.random() < 0.5:
            server.kill()
            server.start()
    sender = Sender(tmp_path, fleet.terms).start()
    sender.until(lambda: fleet.ids() == sorted(ids(path)))
    assert sender.close() == 0
    assert len(set(ids(path))) == len(ids(path)) > 0
    check_sums(path)
    fleet.check_sums()
