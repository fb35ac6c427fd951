"""Whose fault is it: what one tenant or one body raises decides for nobody else, what a worker raises for no client."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from virtual_time import virtual_time
from whole_gateway import COMPLETIONS, Plan, Stage, chat, stage, tenant
from workers_on_stage import EngineWorker, ScriptedWorker, fault, faults

from backend.engine.faults import FaultKind
from gateway.config import Timeouts, Window
from gateway.outcomes import Outcome
from gateway.proxy.exchange import MAX_FULL_ATTEMPTS

POISON = "bitter tea"
PATIENT = Timeouts(connect_seconds=2, first_byte_seconds=4, stall_seconds=5)
ANSWER = b'{"choices":[{"index":0}],"usage":{"prompt_tokens":20,"total_tokens":25,"completion_tokens":5}}'
WORDS = b'{"error":{"message":"boom: the words of the engine","type":"InternalServerError","param":null,"code":500}}'
PAGE = b"<html><body>please log in</body></html>"
TENANTS = (tenant("alice"), tenant("bob"), tenant("mallory"))
TRIES = 50

Reply = Callable[[asyncio.StreamWriter], None]


def status(code: int, body: bytes = WORDS, kind: str = "application/json", *headers: str) -> Reply:
    """Answers with `code`."""
    lines = [f"HTTP/1.1 {code} Some", f"content-type: {kind}", f"content-length: {len(body)}", *headers]

    def reply(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return reply


GOOD = status(200, ANSWER)


def drop(writer: asyncio.StreamWriter) -> None:
    """Closes without a word."""
    writer.close()


def break_off(writer: asyncio.StreamWriter) -> None:
    """Closes inside the answer."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n")
    writer.close()


def babble(writer: asyncio.StreamWriter) -> None:
    """Speaks another protocol."""
    writer.write(b"SSH-2.0-OpenSSH\r\n")
    writer.close()


def hang(writer: asyncio.StreamWriter) -> None:
    """Says nothing."""


WAYS_TO_FAIL: dict[str, Reply] = {
    **{f"{code}": status(code) for code in (401, 402, 403, 407, 408, 425, 451, 500, 501, 502, 504, 505, 507, 529)},
    "redirect": status(302, b"", "text/html", "location: /login"),
    "page": status(200, PAGE, "text/html"),
    "page of a 404": status(404, PAGE, "text/html"),
    "nothing": status(204, b""),
    "empty": status(200, b""),
    "drop": drop,
    "break off": break_off,
    "babble": babble,
    "hang": hang,
}


def worker_that(poisoned: Reply, otherwise: Reply = GOOD) -> ScriptedWorker:
    """A worker that gives one reply to bodies with the poison in them, another to all others; its probes are green."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (poisoned if POISON in json.dumps(worker.requests[-1][1]) else otherwise)(writer)

    worker = ScriptedWorker(respond)
    return worker


async def keep_failing(scene: Stage, who: str) -> None:
    """A client of `who` that sends one poisoned body after another, each another one."""
    number = 0
    while True:
        number += 1
        await scene.ask(chat(5, stream=False, prompt=f"{POISON} {number}"), who)
        await asyncio.sleep(0.03)


@virtual_time
@pytest.mark.parametrize("way", WAYS_TO_FAIL)
async def test_what_fails_for_one_tenant_is_served_to_the_other(way: str) -> None:
    """One worker, and one tenant whose requests all fail there: each try of the other is answered, before and after."""
    worker = worker_that(WAYS_TO_FAIL[way])
    plan = Plan(tenants=TENANTS, pool={"timeouts": PATIENT}, window=Window(sequences=8, slack=0, prefill_tokens=4096))
    async with stage(worker, plan=plan) as scene:
        for _ in range(5):  # alone: nobody is a witness for the worker yet
            await scene.ask(chat(5, stream=False, prompt=POISON), "mallory")
        clients = [asyncio.create_task(keep_failing(scene, "mallory")) for _ in range(2)]
        for number in range(TRIES):
            answer = await scene.ask(chat(5, stream=False, prompt=f"tea {number}"), "bob")
            assert (answer.status, answer.body) == (200, ANSWER), number
            await asyncio.sleep(0.04)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        failed = [
            event for event in scene.finished if event.tenant == "mallory" and event.outcome.wire_form.status != 499
        ]
        assert failed
        assert all(event.outcome.wire_form.status >= 500 and event.service == 0 for event in failed)
        assert "down" not in {change.state for change in scene.changes}


@virtual_time
async def test_what_fails_for_two_tenants_is_served_to_the_third() -> None:
    """Failures of two tenants bring the only worker into doubt; it serves on, and one answer ends the doubt."""
    async with stage(worker_that(status(500)), plan=Plan(tenants=TENANTS)) as scene:
        for who in ("mallory", "alice"):
            await scene.ask(chat(5, stream=False, prompt=POISON), who)
        assert scene.gateway.workers()[0].state == "doubted"
        assert (await scene.ask(chat(5, stream=False), "bob")).status == 200
        assert scene.gateway.workers()[0].state == "serving"


@virtual_time
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", COMPLETIONS, "/v1/messages", "/v1/responses"])
async def test_the_engines_own_words_reach_the_client_and_the_log(path: str, stream: bool) -> None:
    """One bounded line of them, in the client's own format, with the status that the engine gave."""
    async with stage(EngineWorker(faults(fault(FaultKind.REFUSE, every=1, status=500)))) as scene:
        answer = await scene.ask(asked(path, stream=stream), path=path)
        assert answer.status == 502
        assert "status 500: " in answer.json["error"]["message"]
        assert "status 500: " in scene.last.detail
        assert scene.last.attempts == 2
    async with stage(worker_that(GOOD, status(507))) as scene:
        answer = await scene.ask(asked(path, stream=stream), path=path)
        assert "status 507: boom: the words of the engine" in answer.json["error"]["message"]
        assert scene.last.detail == "status 507: boom: the words of the engine"


def asked(path: str, **fields: Any) -> dict[str, Any]:
    """A small request of each API."""
    common = {"model": "tiny", **fields}
    match path:
        case "/v1/responses":
            return {**common, "input": "tea", "max_output_tokens": 5}
        case "/v1/completions":
            return {**common, "prompt": "tea", "max_tokens": 5}
        case "/v1/embeddings":
            return {"model": "tiny", "input": "tea"}
        case "/tokenize":
            return {"model": "tiny", "prompt": "tea"}
        case _:
            return {**common, "messages": [{"role": "user", "content": "tea"}], "max_tokens": 5}


@virtual_time
@pytest.mark.parametrize(("code", "attempts"), [(501, 1), (505, 1), (500, 2), (507, 2), (529, 2), (402, 2), (451, 2)])
async def test_what_an_engine_will_not_do_tomorrow_either_is_not_asked_again(code: int, attempts: int) -> None:
    """501 and 505 end the request with the first attempt, everything else of the worker's is tried once more."""
    worker = worker_that(GOOD, status(code))
    async with stage(worker) as scene:
        assert (await scene.ask(chat(5))).status == 502
        assert len(worker.requests) == scene.last.attempts == attempts


@virtual_time
@pytest.mark.parametrize("way", [way for way in WAYS_TO_FAIL if way not in ("501", "505")])
async def test_a_worker_that_fails_fast_costs_no_client_an_answer_and_draws_no_load(way: str) -> None:
    """One of two workers fails everything at once: ten requests in a row are answered, few of them went there."""
    bad, good = worker_that(GOOD, WAYS_TO_FAIL[way]), worker_that(GOOD)
    async with stage(bad, good, plan=Plan(pool={"timeouts": PATIENT})) as scene:
        for number in range(10):
            answer = await scene.ask(chat(5, stream=False, prompt=f"tea {number}"))
            assert (answer.status, answer.body) == (200, ANSWER), number
        assert len(bad.requests) <= 2
        assert all(event.output_tokens == 5 for event in scene.finished)
        assert sum(event.detail.startswith("tiny/w0: ") for event in scene.finished) == len(bad.requests)


@virtual_time
@pytest.mark.parametrize("code", [400, 404, 413, 422])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/tokenize"])
async def test_what_is_the_clients_fault_is_reported_in_the_engines_words(code: int, path: str) -> None:
    """The error passes on as it came; the request went once, costs nothing and does not count against the worker."""
    words = b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":%d}}' % code
    worker = worker_that(GOOD, status(code, words))
    async with stage(worker, plan=Plan(tenants=TENANTS)) as scene:
        for who in ("alice", "bob", "mallory") * 2:
            answer = await scene.ask(asked(path), who, path)
            assert (answer.status, answer.body) == (code, words)
        assert len(worker.requests) == 6
        assert {event.outcome for event in scene.finished} == {Outcome.REJECTED_BY_ENGINE}
        assert [change.state for change in scene.changes] == ["serving"]


@virtual_time
async def test_an_engine_that_does_not_know_the_pools_model_is_the_operators_fault() -> None:
    """Its 404 is not passed on as the client's own mistake: another worker is tried, and the log has its words."""
    words = (
        b'{"error":{"message":"The model `tiny` does not exist.","type":"NotFoundError","param":"model","code":404}}'
    )
    async with stage(worker_that(GOOD, status(404, words))) as scene:
        answer = await scene.ask(chat(5))
        assert answer.status == 502
        assert "does not exist" in scene.last.detail
        assert scene.last.attempts == 2


@virtual_time
@pytest.mark.parametrize("way", ["redirect", "page", "nothing", "empty", "401", "404"])
async def test_a_stream_gets_nothing_glued_on(way: str) -> None:
    """The client of a stream gets no part of a page that is no answer: it gets one error, and nothing is charged."""
    reply = WAYS_TO_FAIL.get(way, status(404, PAGE, "text/html"))
    async with stage(worker_that(GOOD, reply)) as scene:
        for path in ("/v1/chat/completions", COMPLETIONS, "/v1/messages", "/v1/responses"):
            answer = await scene.ask(asked(path, stream=True), path=path)
            assert answer.status == 502
            assert answer.json["error"]["message"].startswith("The worker failed before it answered.")
            assert "location" not in answer.headers
            assert scene.last.service == 0


@virtual_time
@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(("code", "seen"), [(401, 502), (404, 502), (500, 502), (503, 503), (429, 503), (200, 502)])
async def test_requests_that_run_no_model_are_judged_alike(path: str, code: int, seen: int) -> None:
    """The gateway words a page, or a status that is not the client's fault, itself."""
    async with stage(worker_that(GOOD, status(code, PAGE, "text/html"))) as scene:
        answer = await scene.ask(asked(path), path=path)
        assert answer.status == seen
        assert scene.last.detail


@virtual_time
async def test_answers_of_a_good_worker_pass_whatever_type_they_name() -> None:
    """JSON with parameters or without a type, a stream, and a stream that the engine answered whole."""
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        async with stage(worker_that(GOOD, status(200, ANSWER, kind))) as scene:
            assert (await scene.ask(chat(5, stream=False))).body == ANSWER
            assert scene.last.outcome is Outcome.COMPLETED
            assert (await scene.ask(chat(5))).status == 200


SLOW_SECONDS = 0.05


def slow_worker_that(poisoned: Reply) -> ScriptedWorker:
    """A worker that takes a while for each answer and has no room for the poisoned, or breaks on them, at once."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if POISON in json.dumps(worker.requests[-1][1]):
            poisoned(writer)
            return
        await asyncio.sleep(SLOW_SECONDS)
        GOOD(writer)

    worker = ScriptedWorker(respond)
    return worker


async def served_in(seconds: float, way: Reply | None, workers: int = 1) -> tuple[int, Stage]:
    """How many answers four clients of bob get in so long, beside a tenant whose requests all meet `way`."""
    served = 0

    async def ask_on(scene: Stage) -> None:
        nonlocal served
        while True:
            served += (await scene.ask(chat(5, stream=False, prompt="tea"), "bob")).status == 200

    plan = Plan(tenants=TENANTS, window=Window(sequences=4, slack=0, prefill_tokens=4096))
    async with stage(*(slow_worker_that(way or GOOD) for _ in range(workers)), plan=plan) as scene:
        clients = [asyncio.create_task(ask_on(scene)) for _ in range(4)]
        if way is not None:
            clients += [asyncio.create_task(keep_failing(scene, "mallory")) for _ in range(4)]
        await asyncio.sleep(seconds)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        await scene.settled()
    return served, scene


@virtual_time
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", ["503", "429", "drop", "babble"])
async def test_a_pause_is_earned_by_the_worker(way: str, workers: int) -> None:
    """A tenant for whose requests there is never room, or whose connections break, takes no answer from the other."""
    alone, _ = await served_in(6, None, workers)
    beside, scene = await served_in(6, WAYS_TO_FAIL.get(way, status(int(way) if way.isdigit() else 0)), workers)
    assert beside >= 0.95 * alone
    assert any(event.tenant == "mallory" and event.outcome.wire_form.status >= 502 for event in scene.finished)


@virtual_time
@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 0.5), ("0", 0.5), ("3", 3), ("3600", 5), ("soon", 0.5)])
async def test_lack_of_room_is_waited_for_within_bounds(code: int, retry_after: str | None, seconds: float) -> None:
    """The gateway waits as long as the worker asks, so many times; then it answers 503 with a time."""
    headers = () if retry_after is None else (f"retry-after: {retry_after}",)
    worker = worker_that(GOOD, status(code, WORDS, "application/json", *headers))
    async with stage(worker, plan=Plan(scheduler={"queue_timeout_seconds": 600})) as scene:
        answer = await scene.ask(chat(5))
        assert (answer.status, answer.json["error"]["code"]) == (503, "no_room")
        assert int(answer.headers["retry-after"]) >= 1
        assert len(worker.requests) == MAX_FULL_ATTEMPTS
        assert scene.last.duration_seconds == pytest.approx((MAX_FULL_ATTEMPTS - 1) * seconds, abs=0.1)
        assert scene.last.service == 0
        assert [change.state for change in scene.changes] == ["serving"]


@virtual_time
async def test_a_worker_without_room_sends_the_request_to_the_next() -> None:
    """While another worker serves, the request goes there at once and keeps its place."""
    full, good = worker_that(GOOD, status(429)), worker_that(GOOD)
    async with stage(full, good) as scene:
        assert (await scene.ask(chat(5, stream=False))).body == ANSWER
        assert scene.last.attempts == 2
        assert scene.last.duration_seconds < 0.1


@virtual_time
async def test_a_worker_without_room_for_two_tenants_is_paused_for_all() -> None:
    """The worker lacks room then: it gets nothing for a moment, and the state says so."""
    worker = worker_that(GOOD, status(503))
    async with stage(worker, plan=Plan(tenants=TENANTS)) as scene:
        asking = [scene.asking(chat(5), who) for who in ("alice", "bob")]
        while len(worker.requests) < 2:
            await scene.turn()
        third = scene.asking(chat(5), "mallory")
        await asyncio.sleep(0.4)
        assert len(worker.requests) == 2
        assert scene.gateway.workers()[0].limited_by.value == "pause"
        for task in (*asking, third):
            task.cancel()
        await asyncio.wait([*asking, third])
        await scene.settled()
