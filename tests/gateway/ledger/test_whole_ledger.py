"""The ledger of a whole gateway: a row for each request, and what the engines count themselves."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from time import sleep

import pytest
from served import STUCK_SECONDS, Served, serving, write_config
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, key_of, stage
from workers_on_stage import CPU_TINY, ENGINE_CONFIG, INSTANT, EngineWorker, fault, faults

from backend.engine.config import EngineConfig
from backend.engine.faults import FaultKind
from gateway.cli.usage import UsageOptions, usage
from gateway.config import EndUsers, Ledger, Prices
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.report import Subject
from gateway.ledger.rows import Ended, Row, row_of
from gateway.outcomes import Outcome
from gateway.wire.end_user import pseudonym

from .books import check_sums, content


def rows(scene: Stage) -> list[Row]:
    """The rows of what has ended on a stage."""
    return [row_of(Ended(event, None, 0.0)) for event in scene.finished]


@pytest.mark.parametrize("engine", [ENGINE_CONFIG, CPU_TINY], ids=["quick", "slow"])
@virtual_time
async def test_ledger_and_lost_are_what_the_engine_counts(engine: EngineConfig) -> None:
    """To the token: streams of one and of two sequences, whole answers, and clients that leave their streams."""
    async with stage(EngineWorker(engine)) as scene:
        asking = []
        for number in range(40):
            body = chat(20 + number, stream=number % 4 != 0, n=1 + (number % 3 == 0))
            asking.append(scene.asking(body, ("alice", "bob")[number % 2]))
            await asyncio.sleep(0.03)
            if number % 5 == 1 and number // 2 % 4:
                asking[number // 2].cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await scene.settled()
        kept = rows(scene)
        assert Outcome.CLIENT_GONE_STREAMING in scene.outcomes
        assert sum(row.output_tokens + row.lost_output_tokens for row in kept) == scene.witness.output_tokens
        assert sum(row.prompt_tokens + row.lost_prompt_tokens for row in kept) == scene.witness.prompt_tokens


@virtual_time
async def test_the_work_of_an_attempt_that_is_given_up_is_lost() -> None:
    """A worker that read the prompt and then broke has worked for nobody; the tenant pays for the second attempt."""
    cut = faults(fault(FaultKind.STALL_FIRST_BYTE))
    async with stage(EngineWorker(cut), EngineWorker()) as scene:
        await asyncio.gather(*(scene.ask(chat(5)) for _ in range(2)))
        await scene.settled()
        (row,) = [row for row in rows(scene) if row.lost_prompt_tokens]
        assert (row.outcome, row.attempts) in {("completed", 2), ("first_byte_timeout", 1)}
        assert row.lost_prompt_tokens > 0
        assert sum(event.service for event in scene.finished) == pytest.approx(scene.service("alice"))


@virtual_time
async def test_the_time_of_the_worker_is_divided_among_the_requests() -> None:
    """What all rows got and what was idle is the time that has passed, to the microsecond."""
    async with stage(EngineWorker(CPU_TINY)) as scene:
        loop = asyncio.get_running_loop()
        (before,) = scene.shared_times().values()
        began = loop.time() - before.idle_seconds
        await asyncio.gather(*(scene.ask(chat(10 + number, n=1 + number % 2)) for number in range(12)))
        await asyncio.sleep(3)
        (time,) = scene.shared_times().values()
        shared = sum(event.worker_seconds or 0.0 for event in scene.finished)
        assert shared == pytest.approx(time.busy_seconds, abs=1e-6)
        assert time.busy_seconds + time.idle_seconds == pytest.approx(loop.time() - began, abs=1e-6)
        assert shared > 0 and time.idle_seconds >= 3


@virtual_time
async def test_the_time_in_which_a_worker_is_away_is_not_its_own() -> None:
    """One that is removed is forgotten when its last request has ended; if it comes back, it counts from then on."""
    async with stage(EngineWorker(), EngineWorker(CPU_TINY)) as scene:
        both, loop = scene.gateway.config, asyncio.get_running_loop()
        (pool,) = both.pools
        first, second = scene.shared_times()
        asking = [scene.asking(chat(100)) for _ in range(4)]
        await scene.until(lambda: all(worker.sequences_in_flight for worker in scene.gateway.workers()))
        scene.reload(both.model_copy(update={"pools": (pool.model_copy(update={"workers": pool.workers[:1]}),)}))
        assert list(scene.shared_times()) == [first, second]
        await asyncio.gather(*asking)
        assert list(scene.shared_times()) == [first]
        await asyncio.sleep(1000)
        began = loop.time()
        scene.reload(both)
        await asyncio.sleep(3)
        await scene.ask(chat(3))
        time = scene.shared_times()[second]
        assert time.busy_seconds + time.idle_seconds == pytest.approx(loop.time() - began, abs=1e-6)


def test_each_request_of_a_tenant_has_its_row(tmp_path: Path) -> None:
    """Answered, refused, of a page that runs no model: what the events say; a stranger has none."""

    async def story() -> None:
        plan = Plan(ledger=Ledger(folder=tmp_path), pool={"prices": Prices(output=2)})
        async with stage(EngineWorker(INSTANT), plan=plan) as scene:
            await asyncio.gather(*(scene.ask(chat(3), name) for name in ("alice", "bob", "alice")))
            await scene.post("/v1/chat/completions", {"model": "unknown", "messages": []})
            await scene.get("/v1/models", key_of("bob"))
            await scene.post("/v1/chat/completions", chat(3), "vtc-nobody")
            expected = [event for event in scene.finished if event.tenant]
            metrics = (await scene.get("/metrics")).body.decode()
            assert "vtc_gateway_ledger_works 1" in metrics
            await scene.stop()
        file = tmp_path / "0.sqlite"
        query = "SELECT request_id, name, output_tokens, money_nano FROM requests JOIN names n ON n.id = outcome"
        found = content(file, query)
        assert sorted(found) == sorted(
            (event.request_id, event.outcome.value, event.output_tokens, event.output_tokens * 2000)
            for event in expected
        )
        assert len(found) == 5
        check_sums(file)

    asyncio.run(story())


@pytest.mark.parametrize(("end_users", "kept"), [("plain", "erika"), ("hashed", pseudonym("erika")), ("off", "")])
def test_end_users_are_kept_as_configured(tmp_path: Path, end_users: str, kept: str) -> None:
    """By name, by pseudonym or not at all; the log has the pseudonym in each case."""

    async def story() -> str:
        plan = Plan(ledger=Ledger(folder=tmp_path, end_users=EndUsers(end_users)))
        async with stage(EngineWorker(INSTANT), plan=plan) as scene:
            assert (await scene.ask(chat(3, user="erika"))).status == 200
            await scene.stop()
            return scene.end_log()

    log = asyncio.run(story())
    assert content(tmp_path / "0.sqlite", "SELECT end_user FROM requests") == [(kept,)]
    assert pseudonym("erika") in log
    assert "erika" not in log


def test_a_ledger_goes_on_from_its_copy(tmp_path: Path) -> None:
    """As the documentation says: copied while the gateway runs, and put in the place of the file while none does."""
    folder, copies = tmp_path / "ledger", tmp_path / "copy"

    async def story(*, is_copied: bool = False) -> None:
        async with stage(EngineWorker(INSTANT), plan=Plan(ledger=Ledger(folder=folder))) as scene:
            assert (await scene.ask(chat(3))).status == 200
            while "vtc_gateway_ledger_rows_total 1" not in (await scene.get("/metrics")).body.decode():
                await scene.turn()
            if is_copied:
                LedgerFolder(folder).back_up(copies)
                assert (await scene.ask(chat(4))).status == 200
            await scene.stop()

    asyncio.run(story(is_copied=True))
    for suffix in ("", "-wal", "-shm"):
        (folder / f"0.sqlite{suffix}").unlink(missing_ok=True)
    (copies / "0.sqlite").rename(folder / "0.sqlite")
    asyncio.run(story())
    assert content(folder / "0.sqlite", "SELECT output_tokens FROM requests") == [(3,), (3,)]
    check_sums(folder / "0.sqlite")


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said in the log and the metrics, requests are answered, and the end tells what could not be written."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("gateway.ledger.writer.CLOSE_SECONDS", 0.05)

    async def story() -> None:
        async with stage(EngineWorker(INSTANT), plan=Plan(ledger=Ledger(folder=tmp_path / "file"))) as scene:
            assert (await scene.ask(chat(3))).status == 200
            while "vtc_gateway_ledger_works 0" not in (await scene.get("/metrics")).body.decode():
                await scene.turn()
            assert (await scene.ask(chat(3))).status == 200
            await scene.stop()
            log = scene.end_log()
            assert '"the ledger fails"' in log
            assert json.loads(next(line for line in log.splitlines() if "ledger rows lost" in line))["rows"] == 2

    asyncio.run(story())


@contextmanager
def keeping(folder: Path) -> Iterator[Served]:
    """A gateway process with a ledger."""
    path = write_config(folder, profile="cpu-tiny")
    path.write_text(path.read_text() + "ledger: {}\n")
    with serving(path) as child:
        yield child


def test_a_killed_gateway_leaves_its_open_requests_as_orphans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL in the middle of a stream: the next start closes it with what it had used, and `usage` shows it."""
    with keeping(tmp_path) as child:
        key = (tmp_path / "alice.key").read_text().strip()
        messages = [{"role": "user", "content": "Hello"}]
        short = {"model": "tiny", "messages": messages, "max_tokens": 4, "min_tokens": 4}
        assert child.request("/v1/chat/completions", key, json.dumps(short).encode())[0] == 200
        long = json.dumps(short | {"max_tokens": 2000, "min_tokens": 2000}).encode()

        def ask() -> None:
            with suppress(OSError, HTTPException):
                child.request("/v1/chat/completions", key, long)

        asking = threading.Thread(target=ask)
        asking.start()
        (file,) = (tmp_path / "ledger").glob("*.sqlite")
        while not content(file, "SELECT request_id FROM open"):
            assert asking.is_alive()
            sleep(0.05)
        child.signal(signal.SIGKILL)
        asking.join(STUCK_SECONDS)
    with keeping(tmp_path) as child:
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0
    options = UsageOptions(tmp_path / "config.yaml", (Subject.TENANT, Subject.OUTCOME), form="json")
    assert usage(options) == 0
    lines = {line["outcome"]: line for line in json.loads(capsys.readouterr().out)}
    assert {name: line["requests"] for name, line in lines.items()} == {"completed": 1, "orphaned": 1}
    assert lines["completed"]["output_tokens"] == 4
    assert lines["orphaned"]["prompt_tokens"] > 0
