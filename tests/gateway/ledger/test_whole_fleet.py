"""Whole gateways that send their ledgers to one PostgreSQL, and the commands that read it."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from real_databases import PASSWORD, Postgres
from typer.testing import CliRunner
from whole_gateway import Plan, chat, stage
from workers_on_stage import INSTANT, EngineWorker

from gateway.cli.commands import app
from gateway.config import Ledger, Prices
from gateway.config import Postgres as PostgresTerms
from gateway.ledger import follower
from gateway.ledger.database import LedgerDatabase
from gateway.ledger.faults import LedgerFault
from gateway.ledger.file import Batch, LedgerFile
from gateway.wire.end_user import pseudonym

from .books import row
from .fleet_books import Fleet, Sender

CONFIG = """\
pools: [{model: tiny, workers: [{url: "http://127.0.0.1:1"}]}]
tenants: [{name: alice, keys: [{env: A_KEY_THAT_IS_NOT_SET}]}]
ledger: {currency: EUR, postgres: {url_env: LEDGER_URL}}
"""
SINCE = ("--since", "2026-05-28", "--until", "2026-05-30")


@pytest.fixture
def fleet(running_server: Postgres, fleet_url: str) -> Fleet:
    return Fleet(running_server, fleet_url)


def run(url: str, *arguments: str) -> tuple[int, str]:
    """Exit status and what `vtc-gateway usage` printed, with the database's address in the environment."""
    result = CliRunner().invoke(app, ["usage", *arguments], env={"COLUMNS": "40", "LEDGER_URL": url})
    return result.exit_code, result.output


def test_two_gateways_and_a_database_that_goes_away(
    tmp_path: Path, fleet: Fleet, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are answered all the while; log and metrics say it; in the end the database has each of both once."""
    monkeypatch.setattr(follower, "GATHER_SECONDS", 0.02)
    monkeypatch.setattr(follower, "LONGEST_PAUSE_SECONDS", 0.1)

    def plan(name: str) -> Plan:
        ledger = Ledger(folder=tmp_path / name, postgres=fleet.terms)
        return Plan(ledger=ledger, pool={"prices": Prices(output=2)})

    async def story() -> list[str]:
        async with (
            stage(EngineWorker(INSTANT), plan=plan("a")) as one,
            stage(EngineWorker(INSTANT), plan=plan("b")) as two,
        ):
            scenes = (one, two)

            async def says(line: str) -> None:
                for scene in scenes:
                    while line not in (await scene.get("/metrics")).body.decode():
                        await scene.turn()

            await asyncio.gather(*(scene.ask(chat(3), name) for scene in scenes for name in ("alice", "bob")))
            await says("vtc_gateway_ledger_postgres_rows_total 2")
            await asyncio.to_thread(server.kill)
            answers = await asyncio.gather(*(scene.ask(chat(5), "alice") for scene in scenes))
            assert [answer.status for answer in answers] == [200, 200]
            await says("vtc_gateway_ledger_postgres_works 0")
            await says("vtc_gateway_ledger_postgres_behind_rows 1")
            await asyncio.to_thread(server.start)
            await says("vtc_gateway_ledger_postgres_works 1")
            await says("vtc_gateway_ledger_postgres_behind_rows 0")
            await asyncio.gather(*(scene.ask(chat(2), "bob") for scene in scenes))
            expected = [event.request_id for scene in scenes for event in scene.finished if event.tenant]
            for scene in scenes:
                await scene.stop()
            log = one.end_log() + two.end_log()
            assert log.rfind("the ledger's database answers") > log.find("the ledger's database fails") > 0
            assert PASSWORD not in log and "secret" not in log
            return expected

    expected = asyncio.run(story())
    assert fleet.ids() == sorted(expected)
    fleet.check_sums()
    assert fleet.query("SELECT sum(requests), sum(output_tokens) FROM vtc_ledger.quarters") == [["8", "26"]]


@pytest.fixture
def config(tmp_path: Path, fleet: Fleet) -> str:
    """A configuration whose database has rows of this gateway and of another one."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    user = pseudonym("erika")
    for folder, batch in (
        ("ledger", Batch([row("r1", end_user=user), row("r2", tenant="bob")])),
        ("elsewhere", Batch([row("r3", end_user=user)])),
    ):
        (tmp_path / folder).mkdir()
        file = LedgerFile(tmp_path / folder / "8000.sqlite")
        file.write(1, batch)
        file.close()
        sender = Sender(tmp_path / folder, fleet.terms).start()
        sender.until_sent(len(batch.rows))
        sender.close()
    return str(path)


def test_commands_tell_of_all_gateways(config: str, fleet: Fleet) -> None:
    """Reports, FOCUS lines and the audit."""
    status, out = run(fleet.url, "report", config, "--json", *SINCE)
    assert status == 0
    assert [(line["tenant"], line["requests"]) for line in json.loads(out)] == [("alice", 2), ("bob", 1)]
    status, out = run(fleet.url, "report", config, "--json", "--by", "end_user", *SINCE)
    assert [(line["end_user"], line["requests"]) for line in json.loads(out)] == [
        ("0123456789abcdef", 1),
        (pseudonym("erika"), 2),
    ]
    status, out = run(fleet.url, "audit", config, "--json", *SINCE)
    assert [(line["kind"], line["charged"]) for line in json.loads(out)] == [("prompt", 300), ("output", 150)]
    status, out = run(fleet.url, "focus", config, *SINCE)
    assert status == 0 and sum(float(line.split(",")[0]) for line in out.splitlines()[1:]) > 0


def test_an_end_user_is_forgotten_in_the_database_and_in_the_files_here(config: str, fleet: Fleet) -> None:
    """The database's rows of other gateways too."""
    assert run(fleet.url, "forget", "--end-user", "erika", config) == (0, "2 rows had this end user and no longer do\n")
    _, out = run(fleet.url, "report", config, "--json", "--by", "end_user", *SINCE)
    assert [(line["end_user"], line["requests"]) for line in json.loads(out)] == [("", 2), ("0123456789abcdef", 1)]
    here = Path(config).parent / "ledger" / "8000.sqlite"
    assert pseudonym("erika").encode() not in here.read_bytes()


def test_commands_say_why_the_database_cannot_be_read(config: str, running_server: Postgres, fleet: Fleet) -> None:
    """On standard error, with status 1 and without the password."""
    status, out = run("", "report", config)
    assert status == 1 and "its address is not known here" in out
    status, out = run(running_server.url(fleet.name, "a-wrong-one"), "report", config)
    assert status == 1 and "correct the user or the password" in out and "a-wrong-one" not in out
    status, out = run("mysql://a:secret@db/x", "report", config)
    assert status == 1 and "no address of PostgreSQL" in out and "secret" not in out


def certificate(folder: Path, name: str) -> Path:
    """A certificate for the host `localhost`, signed by itself, and its key beside it."""
    place = folder / f"{name}.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(place)]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, "-days", "2", *subject, *files], check=True, capture_output=True)
    return place


def test_the_server_has_to_prove_who_it_is(tmp_path: Path, fleet: Fleet, server: Postgres) -> None:
    """With `ca_file`: by a certificate that was signed so, for the name in the address."""
    ours, others = certificate(tmp_path, "ours"), certificate(tmp_path, "others")
    server.kill()
    server.start("-c", "ssl=on", *server.keeping(ours, ours.with_suffix(".key")))
    by_name = fleet.url.replace("127.0.0.1", "localhost")

    async def is_encrypted(terms: PostgresTerms) -> bool:
        database = await LedgerDatabase.open(terms)
        try:
            return bool(await database.connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
        finally:
            await database.close()

    assert asyncio.run(is_encrypted(PostgresTerms(url=by_name, ca_file=ours)))
    for url, ca_file in [(by_name, others), (fleet.url, ours), (by_name + "?sslmode=verify-full", None)]:
        with pytest.raises(LedgerFault, match=r"(?i)certificate"):
            asyncio.run(is_encrypted(PostgresTerms(url=url, ca_file=ca_file)))
    server.kill()
    server.start()
    with pytest.raises(LedgerFault, match=r"(?i)ssl"):
        asyncio.run(is_encrypted(PostgresTerms(url=by_name, ca_file=ours)))
