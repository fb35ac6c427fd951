"""The gateway's own life under load: it drains, it reloads, workers come and go."""

import asyncio
import json
from pathlib import Path
from random import Random

from raw_client import Client
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, key_of, stage, tenant
from workers_on_stage import EngineWorker

from gateway import __version__
from gateway.config import Window, digest
from gateway.events import ConfigReloaded
from gateway.outcomes import Outcome
from gateway.reload import read

ONE_SLOT = Window(sequences=1, slack=0, prefill_tokens=2048)
RELOADS = 100


@virtual_time
async def test_running_streams_finish_inside_the_grace_and_the_gateway_is_unready_at_once() -> None:
    """On a signal to stop it is unready at once, serves what runs and waits, and then ends."""
    async with stage(plan=Plan(window=ONE_SLOT, listen={"drain_seconds": 10})) as scene:
        probe = await Client.connect(scene.url)
        asking = [scene.asking(chat(50), tenant) for tenant in ("alice", "bob", "bob")]
        await scene.until(lambda: scene.queued == 2)
        stopping = scene.stopping()
        await asyncio.sleep(0.001)
        probe.send("/ready")
        assert (await probe.read()).status == 503
        await probe.close()
        assert all(answer.is_done for answer in await asyncio.gather(*asking))
        await stopping
        assert scene.outcomes == [Outcome.COMPLETED] * 3


@virtual_time
async def test_after_the_grace_streams_end_in_an_error_event_and_the_queue_in_503() -> None:
    """Each stream has one error event, each queued request 503 with Retry-After, and nothing hangs."""
    async with stage(plan=Plan(window=ONE_SLOT, listen={"drain_seconds": 2})) as scene:
        streaming = scene.asking(chat(1900))
        await asyncio.sleep(0.1)
        queued = [scene.asking(chat(5), tenant) for tenant in ("bob", "alice")]
        await scene.until(lambda: scene.queued == 2)
        await scene.stop()
        answer = await streaming
        assert answer.is_whole
        assert answer.error is not None
        assert answer.error["code"] == "shutting_down"
        for refused in await asyncio.gather(*queued):
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) >= 1
        assert sorted(outcome.value for outcome in scene.outcomes) == ["cut_by_shutdown", "draining", "draining"]


@virtual_time
async def test_the_log_tells_its_life_from_start_to_stop() -> None:
    """The log has the start, that it is ready, what it has when it drains, and how many it refused and cut."""
    plan = Plan(window=ONE_SLOT, listen={"drain_seconds": 2})
    async with stage(plan=plan) as scene:
        asking = [scene.asking(chat(1900), who) for who in ("alice", "bob", "bob")]
        await scene.until(lambda: scene.queued == 2)
        await scene.stop()
        await asyncio.gather(*asking)
        lines = [json.loads(line) for line in scene.end_log().splitlines()]
        starting, ready, draining, stopped = (
            line for line in lines if line["event"] in ("starting", "ready", "draining", "stopped")
        )
        assert (lines[0], lines[-1]) == (starting, stopped)
        logged = {name: starting[name] for name in ("event", "level", "version", "listen", "pools", "policy")}
        assert logged == {
            "event": "starting",
            "level": "info",
            "version": __version__,
            "listen": "127.0.0.1:0",
            "pools": {"tiny": ["w0"]},
            "policy": "vtc",
        }
        assert starting["configuration"].startswith("/")
        assert (ready["event"], ready["level"], ready["url"]) == ("ready", "info", scene.url)
        assert (draining["event"], draining["level"]) == ("draining", "info")
        assert (draining["requests"], draining["drain_seconds"]) == (3, 2)
        assert (stopped["event"], stopped["level"], stopped["refused"], stopped["cut"]) == ("stopped", "warning", 2, 1)


@virtual_time
async def test_a_stop_that_cuts_nobody_is_no_warning() -> None:
    """Requests that had time to end are not counted."""
    async with stage() as scene:
        asking = scene.asking(chat(5))
        await scene.until(lambda: scene.in_flight)
        await scene.stop()
        assert (await asking).is_done
        stopped = json.loads(scene.end_log().splitlines()[-1])
        assert (stopped["event"], stopped["level"], stopped["refused"], stopped["cut"]) == ("stopped", "info", 0, 0)


@virtual_time
async def test_after_the_grace_an_answer_without_a_byte_is_refused_not_sent_again() -> None:
    """A whole answer that is still being made is 503, and no worker is asked again."""
    async with stage(EngineWorker(), EngineWorker(), plan=Plan(listen={"drain_seconds": 1})) as scene:
        asking = scene.asking(chat(1900, stream=False))
        await scene.until(lambda: scene.in_flight)
        await scene.stop()
        answer = await asking
        assert answer.status == 503
        assert answer.json["error"]["code"] == "shutting_down"
        assert len(scene.dispatched) == 1
        assert [change.state for change in scene.changes] == ["serving", "serving"]


def document(urls: list[str], *, weight: float = 1.0, bob_disabled: bool = False) -> str:
    """Return a configuration file that says what these tests' `configuration` says."""
    workers = "".join(f"      - {{url: '{url}', name: w{index}}}\n" for index, url in enumerate(urls))
    tenants = "".join(
        f"  - name: {name}\n    weight: {weight if name == 'carol' else 1}\n    \n"
        f"    keys: [{{id: key1, sha256: {digest(key_of(name)).hex()}, disabled: {is_disabled}}}]\n"
        for name, is_disabled in (("alice", "false"), ("bob", str(bob_disabled).lower()), ("carol", "false"))
    )
    return (
        "listen: {port: 0, drain_seconds: 5, write_stall_seconds: 10}\n"
        "pools:\n  - model: tiny\n    window: {sequences: 4, slack: 1}\n"
        "    timeouts: {first_byte_seconds: 20, stall_seconds: 5}\n"
        f"    workers:\n{workers}tenants:\n{tenants}"
    )


PLAN = Plan(tenants=(tenant("alice"), tenant("bob"), tenant("carol")))


async def client_of(scene: Stage, tenant: str, requests: int) -> None:
    """Send so many requests in turn; all must succeed."""
    for number in range(requests):
        assert (await scene.ask(chat(5 + number % 10, stream=bool(number % 2)), tenant)).status == 200


@virtual_time
async def test_reloads_under_load_lose_reorder_and_recharge_nothing(tmp_path: Path) -> None:
    """Of 100 reloads three in ten are invalid; every request is served in order and charged once."""
    path = tmp_path / "config.yaml"
    random = Random(1)
    async with stage(EngineWorker(), EngineWorker(), plan=PLAN, path=path) as scene:
        urls = [engine.url for engine in scene.engines]
        crowd = [
            asyncio.create_task(client_of(scene, name, 25)) for name in ("alice", "bob", "carol") for _ in range(6)
        ]
        for _ in range(RELOADS):
            await asyncio.sleep(0.03)
            before = scene.counters()
            is_valid = random.random() < 0.7
            text = document(urls, weight=random.choice((1, 2, 5)))
            path.write_text(text if is_valid else text.replace("weight", random.choice(("wait", "{")), 1))
            scene.gateway.reload(read(path))
            assert scene.counters() == before
            scene.check()
        await asyncio.gather(*crowd)
        reloads = [event for event in scene.events if isinstance(event, ConfigReloaded)]
        assert len(reloads) == RELOADS
        assert 20 <= sum(not event.succeeded for event in reloads) <= 40
        assert set(scene.outcomes) == {Outcome.COMPLETED}
        for name in ("alice", "bob", "carol"):
            order = [event.request_id for event in scene.dispatched if event.tenant == name]
            assert order == [event.request_id for event in scene.submitted if event.tenant == name]


@virtual_time
async def test_a_revoked_key_is_refused_from_the_reload_on(tmp_path: Path) -> None:
    """The next request with the key is refused, and the stream that runs goes on."""
    path = tmp_path / "config.yaml"
    async with stage(plan=PLAN, path=path) as scene:
        running = scene.asking(chat(100), "bob")
        await scene.until(lambda: scene.in_flight)
        path.write_text(document([scene.engines[0].url], bob_disabled=True))
        scene.gateway.reload(read(path))
        assert (await scene.ask(chat(1), "bob")).status == 401
        assert (await scene.ask(chat(1), "alice")).status == 200
        assert (await running).is_done


@virtual_time
async def test_a_worker_joins_and_leaves_while_requests_run(tmp_path: Path) -> None:
    """An added worker takes requests; a removed one finishes what it has, gets nothing new and is forgotten."""
    path = tmp_path / "config.yaml"
    newcomer = EngineWorker()
    await newcomer.start()
    async with stage(plan=PLAN, path=path) as scene:
        first = scene.engines[0]
        crowd = [asyncio.create_task(client_of(scene, "alice", 20)) for _ in range(12)]
        await asyncio.sleep(0.2)
        path.write_text(document([first.url, newcomer.url]))
        scene.gateway.reload(read(path))
        await asyncio.sleep(3)
        assert newcomer.engine.witness.started > 0
        running = scene.asking(chat(300), "bob")
        await scene.until(lambda: len([each for each in scene.dispatched if each.tenant == "bob"]) == 1)
        leaving = next(each.worker for each in scene.dispatched if each.tenant == "bob")
        stays, goes = (newcomer, first) if leaving.endswith("w0") else (first, newcomer)
        path.write_text(document([stays.url]).replace("name: w0", "name: w1" if stays is newcomer else "name: w0"))
        scene.gateway.reload(read(path))
        await asyncio.sleep(0.5)
        started = goes.engine.witness.started
        assert (await running).is_done
        await asyncio.gather(*crowd)
        assert goes.engine.witness.started == started
        assert [each.worker for each in scene.gateway.workers()] == [f"tiny/{'w1' if stays is newcomer else 'w0'}"]
        assert set(scene.outcomes) == {Outcome.COMPLETED}
    await newcomer.stop()
