"""A worker serves a pool if it lives, takes our key and has the pool's model; the engine states its length."""

import asyncio
import json

import pytest
from virtual_time import virtual_time
from whole_gateway import ADMIN_KEY, Plan, Stage, chat, key_of, stage
from workers_on_stage import INSTANT, MODEL, EngineWorker, ScriptedWorker

from gateway.config import Timeouts
from gateway.events import WorkerRemarked
from gateway.watch.health import PROBE_SECONDS
from gateway.watch.models import PROBES_BETWEEN

ANSWER = b'{"choices":[{"index":0}],"usage":{"prompt_tokens":20,"total_tokens":25,"completion_tokens":5}}'


def answering(seconds: float = 0.0) -> ScriptedWorker:
    """Make a worker that answers every request whole, after a while."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))

    return ScriptedWorker(respond)


def serving(*names: str, length: int | None = None) -> bytes:
    """Return a list of models."""
    return json.dumps({"data": [{"id": name, "max_model_len": length} for name in names]}).encode()


def remarks(scene: Stage) -> list[str]:
    """Return what was remarked, in order."""
    return [event.remark for event in scene.events if isinstance(event, WorkerRemarked)]


@virtual_time
@pytest.mark.parametrize("status", [204, 301, 302, 307, 400, 401, 403, 404, 407, 429, 500, 503])
async def test_health_is_2xx(status: int) -> None:
    """Something else that listens there is no worker: the pool is not ready, and the log says once what is wrong."""
    worker = answering()
    worker.probe_status = status
    async with stage(worker) as scene:
        await asyncio.sleep(5)
        is_good = status == 204
        assert (await scene.get("/ready")).status == (200 if is_good else 503)
        assert len(remarks(scene)) == (not is_good)
        assert is_good or f"status {status}" in remarks(scene)[0]


@virtual_time
@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (serving("another"), "does not list `tiny` (engine_model), but `another`"),
        (serving(), "does not list `tiny` (engine_model), but nothing"),
        (b"<html>log in</html>", "is no list of models"),
        (b"", "is no list of models"),
    ],
)
async def test_a_worker_without_the_pools_model_does_not_serve(page: bytes, fault: str) -> None:
    """Its health is good, but it is used only once it has the model, within two probes of that time."""
    worker = answering()
    worker.models = page
    async with stage(worker) as scene:
        await asyncio.sleep(3)
        assert (await scene.get("/ready")).status == 503
        assert [fault in remark for remark in remarks(scene)] == [True]
        worker.models = serving(MODEL)
        await asyncio.sleep(PROBE_SECONDS)
        assert (await scene.ask(chat(5, stream=False))).status == 200


@virtual_time
async def test_a_worker_that_loses_the_model_while_it_serves_is_found() -> None:
    """It is asked now and then, every second once something is wrong, and leaves after three failures in a row."""
    worker = answering()
    async with stage(worker) as scene:
        worker.models = serving("another")
        await asyncio.sleep((PROBES_BETWEEN + 4) * PROBE_SECONDS)
        assert [change.state for change in scene.changes] == ["serving", "down"]
        assert "does not list `tiny`" in scene.changes[-1].reason
        worker.models = serving(MODEL)
        await scene.until_worker_is("on_trial")
        assert sum(page.startswith(b"GET /v1/models ") for page in worker.pages) < PROBES_BETWEEN


@virtual_time
async def test_probes_carry_the_workers_key() -> None:
    """Health, models and metrics all carry it, so a worker that does not accept it is found before a request."""
    worker = answering()
    async with stage(worker, plan=Plan(worker={"api_key": "secret-of-w0"})):
        await asyncio.sleep(2)
        assert worker.pages
        assert all(b"authorization: Bearer secret-of-w0\r\n" in page for page in worker.pages)


@virtual_time
@pytest.mark.parametrize(
    ("stated", "reported", "seen"), [(None, 8192, 8192), (4096, 8192, 8192), (4096, None, 4096), (None, None, 2048)]
)
async def test_the_context_length_is_what_the_engine_says(stated: int | None, reported: int | None, seen: int) -> None:
    """The gateway's page and its state have that length; if the configuration differs, the log says so once."""
    worker = answering()
    worker.models = serving(MODEL, length=reported)
    async with stage(worker, plan=Plan(pool={"max_model_len": stated})) as scene:
        await asyncio.sleep(3)
        (card,) = [
            card for card in (await scene.get("/v1/models", key_of("alice"))).json["data"] if card["id"] == MODEL
        ]
        assert card["max_model_len"] == seen
        assert (await scene.get("/debug/state", ADMIN_KEY)).json["workers"][0]["max_model_len"] == reported
        differs = stated is not None and reported is not None
        assert remarks(scene) == (
            ["max_model_len is 4096 in the configuration and 8192 at its engine, which counts"] * differs
        )


@virtual_time
async def test_the_shortest_of_a_pools_workers_counts() -> None:
    """A request may be sent to any of them."""
    short, long = answering(), answering()
    short.models, long.models = serving(MODEL, length=1000), serving(MODEL, length=9000)
    async with stage(long, short, plan=Plan(pool={"max_model_len": None})) as scene:
        cards = (await scene.get("/v1/models", key_of("alice"))).json["data"]
        assert {card["max_model_len"] for card in cards} == {1000}


@virtual_time
async def test_a_long_answer_that_is_not_streamed_has_the_time_that_its_tokens_take() -> None:
    """Even with a short configured context there is one answer, one attempt, and the worker goes on serving."""
    worker = answering(300)
    timeouts = Timeouts(connect_seconds=2, first_byte_seconds=20, stall_seconds=5)
    async with stage(worker, plan=Plan(pool={"max_model_len": 16, "timeouts": timeouts})) as scene:
        answer = await scene.ask(chat(2000, stream=False))
        assert answer.status == 200
        assert len(worker.requests) == 1
        assert [change.state for change in scene.changes] == ["serving"]


@virtual_time
async def test_an_engine_tells_its_length() -> None:
    """The engine writes it as vLLM does."""
    async with stage(EngineWorker(INSTANT), plan=Plan(pool={"max_model_len": None})) as scene:
        cards = (await scene.get("/v1/models", key_of("alice"))).json["data"]
        assert {card["max_model_len"] for card in cards} == {INSTANT.capacity.max_model_len}
