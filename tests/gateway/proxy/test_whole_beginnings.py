"""In all APIs alike: when an answer has begun, what counts as progress, which of a worker's bytes are an answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from raw_client import Answer
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, Plan, Stage, chat, exactly, question, stage, tenant
from workers_on_stage import CPU_TINY, MODEL, EngineWorker, ScriptedWorker, fault, faults

from backend.engine.faults import FaultKind, FaultScript
from gateway.config import Right, Timeouts, Window
from gateway.events import WorkerStalled
from gateway.outcomes import Outcome

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
FIRST, STALL = 60.0, 10.0
TIMEOUTS = Timeouts(connect_seconds=2, first_byte_seconds=FIRST, stall_seconds=STALL)
PLAN = Plan(pool={"timeouts": TIMEOUTS})
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
END = b"0\r\n\r\n"
COMMENT = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Api:
    """What an engine writes to one request: announcements, output, the end, a keep-alive."""

    path: str
    body: dict[str, Any]
    announcements: tuple[bytes, ...]
    output: bytes
    end: bytes
    ping: bytes = COMMENT


def named(name: str, text: str) -> bytes:
    return f'event: {name}\ndata: {{"type":"{name}",{text}}}\n\n'.encode()


CHOICE = 'data: {"id":"x","choices":[{"index":0,%s,"finish_reason":%s}]}\n\n'
APIS = {
    "chat": Api(
        CHAT,
        question(stream=True),
        ((CHOICE % ('"delta":{"role":"assistant","content":""}', "null")).encode(),),
        (CHOICE % ('"delta":{"content":"tea"}', "null")).encode(),
        (CHOICE % ('"delta":{}', '"stop"')).encode() + DONE,
    ),
    "completions": Api(
        COMPLETIONS,
        {"model": MODEL, "prompt": "hi", "stream": True},
        (),
        (CHOICE % ('"text":"tea"', "null")).encode(),
        (CHOICE % ('"text":""', '"stop"')).encode() + DONE,
    ),
    "responses": Api(
        RESPONSES,
        {"model": MODEL, "input": "hi", "stream": True},
        (
            named("response.created", '"sequence_number":0,"response":{"id":"r","usage":null}'),
            named("response.in_progress", '"sequence_number":1,"response":{"id":"r","usage":null}'),
        ),
        named("response.output_text.delta", '"sequence_number":2,"delta":"tea"'),
        named("response.completed", '"sequence_number":3,"response":{"usage":{"input_tokens":3,"output_tokens":1}}'),
    ),
    "messages": Api(
        MESSAGES,
        {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "stream": True},
        (
            named("message_start", '"message":{"usage":{"input_tokens":3,"output_tokens":0}}'),
            named("content_block_start", '"index":0,"content_block":{"type":"text","text":""}'),
        ),
        named("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"tea"}'),
        named("message_delta", '"delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":3,"output_tokens":1}')
        + named("message_stop", '"x":0'),
        named("ping", '"x":0'),
    ),
}
ALL = pytest.mark.parametrize("name", APIS)
Step = bytes | float | None  # bytes to send, seconds to wait, None: break the connection


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Playing:
    """A worker that plays one script for each request, the last again and again."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = list(scripts)
        self.worker = ScriptedWorker(self._respond)

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        for step in script:
            if writer.is_closing():
                return
            match step:
                case bytes():
                    writer.write(step)
                case None:
                    raise ConnectionResetError
                case _:
                    await asyncio.sleep(step)


def streamed(*events: bytes | float) -> list[Step]:
    """A whole answer of `events`."""
    return [HEAD, *(chunk(each) if isinstance(each, bytes) else each for each in events), END]


def whole(api: Api) -> list[Step]:
    return streamed(*api.announcements, api.output, api.end)


def shown(api: Api) -> bytes:
    return b"".join((*api.announcements, api.output, api.end))


async def played(*scripts: Sequence[Step], api: Api, plan: Plan = PLAN) -> tuple[Answer, Stage]:
    """The answer to one request, and the stage as it was left."""
    async with stage(Playing(*scripts).worker, plan=plan) as scene:
        answer = await scene.ask(api.body, path=api.path)
    return answer, scene


@ALL
@virtual_time
async def test_a_long_prefill_behind_announcements_is_no_stall(name: str) -> None:
    """The limit of the first output governs it; the events come in their order, each once."""
    api = APIS[name]
    answer, scene = await played(streamed(*api.announcements, 4.5 * STALL, api.output, api.end), api=api)
    assert answer.body == shown(api)
    assert scene.last.outcome is Outcome.COMPLETED
    assert scene.last.ttft_seconds == pytest.approx(4.5 * STALL, abs=0.1)


@ALL
@virtual_time
async def test_a_worker_that_dies_behind_announcements_and_keep_alives_is_replaced(name: str) -> None:
    """The client sees one answer, the second's, and nothing of the first."""
    api = APIS[name]
    broken: list[Step] = [HEAD, chunk(COMMENT), *map(chunk, api.announcements), chunk(api.ping), 1.0, None]
    async with stage(Playing(broken, whole(api)).worker, plan=PLAN) as scene:
        answer = await scene.ask(api.body, path=api.path)
        assert answer.body == shown(api)
        assert scene.last.attempts == 2


@ALL
@virtual_time
async def test_announcements_without_an_answer_end_with_the_limit_of_the_first_output(name: str) -> None:
    """Keep-alives make no difference: another worker is tried, and then the client gets an error status."""
    api = APIS[name]
    pings: list[bytes | float] = [piece for _ in range(200) for piece in (1.0, api.ping, COMMENT)]
    answer, scene = await played(streamed(*api.announcements, *pings), api=api)
    assert answer.status == 504
    assert scene.last.outcome is Outcome.FIRST_BYTE_TIMEOUT
    assert scene.last.duration_seconds == pytest.approx(2 * FIRST, abs=5)


@ALL
@virtual_time
async def test_keep_alives_are_no_progress_and_pass(name: str) -> None:
    """A stream with nothing but keep-alives ends by its limit, which is the longer one without metrics."""
    api = APIS[name]
    pings: list[bytes | float] = [piece for _ in range(200) for piece in (1.0, api.ping)]
    answer, scene = await played(streamed(*api.announcements, api.output, *pings), api=api)
    assert scene.last.outcome is Outcome.WORKER_STALLED
    assert scene.last.duration_seconds == pytest.approx(FIRST, abs=1)
    assert answer.body.count(api.ping) == pytest.approx(FIRST, abs=1)
    assert b"worker_stalled" in answer.body or b"timeout_error" in answer.body


@virtual_time
async def test_one_silent_stream_without_metrics_takes_the_worker_from_nobody() -> None:
    """A tool call is held back for half a minute: others are served beside it, and it ends whole."""
    api = APIS["chat"]
    silent = streamed(*api.announcements, api.output, 35.0, api.output, api.end)
    async with stage(Playing(silent, whole(api)).worker, plan=PLAN) as scene:
        asking = scene.asking(api.body)
        await asyncio.sleep(20)
        assert (await scene.ask(api.body, "bob")).is_done
        assert (await asking).is_done
        assert {change.state for change in scene.changes} == {"serving"}


def patient(after_tokens: int, path: str = CHAT) -> EngineWorker:
    """A slow engine whose first answer is held back from some token on, while the model runs."""
    script = FaultScript((fault(FaultKind.STALL, after_tokens=after_tokens, seconds=35.0, path=path),), 0)
    return EngineWorker(replace(SLOW, faults=script))


SLOW = replace(CPU_TINY, profile=replace(CPU_TINY.profile, cost=replace(CPU_TINY.profile.cost, step_seconds=0.1)))
LONG = 400
HELD_BACK = {
    CHAT: chat(LONG),
    COMPLETIONS: {"model": MODEL, "prompt": "hi", "stream": True, **exactly(LONG)},
    RESPONSES: {"model": MODEL, "input": "hi", "stream": True, "max_output_tokens": LONG, "ignore_eos": True},
    MESSAGES: {**question(stream=True), "max_tokens": LONG, "ignore_eos": True},
}


@pytest.mark.parametrize("path", HELD_BACK)
@pytest.mark.parametrize("after_tokens", [1, 20])
@virtual_time
async def test_a_stream_that_is_silent_while_its_engine_makes_steps_is_not_cut(path: str, after_tokens: int) -> None:
    """Three times the limit: no error, no worker that goes down, and the tenant pays what was generated."""
    timeouts = Timeouts(connect_seconds=2, first_byte_seconds=12, stall_seconds=STALL)
    tenants = [tenant("alice", allow=frozenset({Right.IGNORE_EOS})), tenant("bob")]
    worker = patient(after_tokens, path)
    async with stage(worker, plan=Plan(tenants=tenants, pool={"timeouts": timeouts})) as scene:
        asking = scene.asking(HELD_BACK[path], path=path)
        await scene.turn(50)
        beside = scene.asking(chat(LONG), "bob")  # a message of its own length is done before
        answer = await asking
        assert b"error" not in answer.body
        (event,) = [event for event in scene.finished if event.tenant == "alice"]
        assert event.outcome is Outcome.COMPLETED
        assert event.output_tokens == scene.engine_count(event.request_id)[0].output_tokens
        assert event.duration_seconds > 3 * STALL
        assert {change.state for change in scene.changes} == {"serving"}
        assert not [event for event in scene.events if isinstance(event, WorkerStalled)]
        await beside


@virtual_time
async def test_a_stream_whose_engine_stands_still_ends_a_second_after_the_limit() -> None:
    """This holds whatever it announced or showed before."""
    for after_tokens in (1, 20):
        worker = EngineWorker(faults(fault(FaultKind.FREEZE, after_tokens=after_tokens)))
        timeouts = Timeouts(connect_seconds=2, first_byte_seconds=8, stall_seconds=STALL)
        async with stage(worker, plan=Plan(pool={"timeouts": timeouts})) as scene:
            answer = await scene.ask(chat(LONG))
            assert answer.error is not None
            *_, last, end = answer.times
            assert STALL <= end - last <= STALL + 1


# -- workers that do not live


@pytest.mark.parametrize("stream", [True, False])
@virtual_time
async def test_requests_at_a_worker_that_was_stopped_are_served_by_another(stream: bool) -> None:
    """A frozen process answers no probe; what has not begun there does not wait for its own limit."""
    is_frozen = asyncio.Event()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_frozen.is_set():
            await reader.read()
        writer.write(JSON % (2, b"{}"))

    frozen = ScriptedWorker(respond)
    timeouts = Timeouts(connect_seconds=2, first_byte_seconds=300, stall_seconds=STALL)
    plan = Plan(pool={"timeouts": timeouts}, window=Window(sequences=8, slack=0, prefill_tokens=20480))
    async with stage(frozen, EngineWorker(), plan=plan) as scene:
        is_frozen.set()
        frozen.answers_probes = False
        asking = [scene.asking(chat(5, prompt=f"tea {n}", stream=stream)) for n in range(8)]
        await scene.until(lambda: len(frozen.requests) >= 3)
        answers = await asyncio.gather(*asking)
        assert {answer.status for answer in answers} == {200}
        assert max(event.duration_seconds for event in scene.finished) < 20
        assert {event.worker for event in scene.finished} == {"tiny/w1"}


@virtual_time
async def test_an_answer_that_is_not_streamed_ends_where_its_engine_stands_still() -> None:
    """The server of the only worker lives; the limit runs from the engine's last step."""
    worker = EngineWorker(SLOW)
    async with stage(worker, plan=PLAN) as scene:
        asking = scene.asking(chat(LONG, stream=False))
        await asyncio.sleep(5)
        worker.engine.freeze()
        answer = await asking
        assert answer.status in (503, 504)
        assert scene.last.duration_seconds < 5 + FIRST + 10


@virtual_time
async def test_a_slow_answer_that_is_not_streamed_is_waited_for_while_its_engine_makes_steps() -> None:
    """The gateway waits beyond every limit."""
    timeouts = Timeouts(connect_seconds=2, first_byte_seconds=3, stall_seconds=2)
    async with stage(EngineWorker(SLOW), plan=Plan(pool={"timeouts": timeouts})) as scene:
        assert (await scene.ask(chat(LONG, stream=False))).status == 200
        assert scene.last.duration_seconds > 10


# -- one request, one answer

SECOND = JSON % (16, b'{"stolen":"mine"}'[:16])
SURPLUS = {
    "a second answer": SECOND,
    "junk": b"\x00\xff surplus",
    "a line": b"\r\n\r\n",
    "a head that does not end": b"HTTP/1.1 200 OK\r\nx: ",
}
ANSWERS = {"whole": JSON % (2, b"{}"), "streamed": HEAD + chunk(APIS["chat"].output) + chunk(DONE) + END}


@pytest.mark.parametrize("surplus", SURPLUS)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("pause", [None, 0.0, 0.5])
@virtual_time
async def test_what_a_worker_sends_beyond_its_answer_reaches_nobody(
    answer: str, surplus: str, pause: float | None
) -> None:
    """The gateway drops it, whenever it comes, and uses the connection no more."""
    more = SURPLUS[surplus]
    first: list[Step] = [ANSWERS[answer] + more] if pause is None else [ANSWERS[answer], pause, more]
    body = question(stream=answer == "streamed")
    async with stage(Playing(first, [ANSWERS[answer]]).worker, plan=PLAN) as scene:
        for name in ("alice", "bob", "alice"):
            got = await scene.ask(body, name)
            assert got.status == 200
            assert got.is_whole
            assert got.body in (b"{}", APIS["chat"].output + DONE)
            await asyncio.sleep(2 * (pause or 0.0))
        assert {change.state for change in scene.changes} == {"serving"}
        assert set(scene.outcomes) == {Outcome.COMPLETED}


@pytest.mark.parametrize("stream", [True, False])
@virtual_time
async def test_an_answer_to_another_request_is_dropped_and_asked_for_again(stream: bool) -> None:
    """vLLM's answers name their request, so the gateway notices one that comes late."""
    ids: list[str] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = worker.requests[-1][0]
        ids.append(head.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode())
        named = ids[0] if len(ids) == 2 else ids[-1]
        event = (CHOICE % ('"delta":{"content":"tea"}', '"stop"')).replace('"id":"x"', f'"id":"chatcmpl-{named}"')
        if stream:
            writer.write(HEAD + chunk(event.encode() + DONE) + END)
        else:
            writer.write(JSON % (len(event) - 8, event[6:-2].encode()))

    worker = ScriptedWorker(respond)
    async with stage(worker, plan=PLAN) as scene:
        for name in ("alice", "bob"):
            answer = await scene.ask(question(stream=stream), name)
            assert answer.status == 200
            assert answer.headers["x-request-id"].encode() in answer.body
        assert scene.last.attempts == 2


MALFORMED = {
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b",
    "another transfer coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n\x1f\x8b",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n" + END,
    "no length": b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}",
    "no chunk": HEAD + b"zz\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    "endless interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 4000,
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("what", MALFORMED)
@virtual_time
async def test_what_is_not_one_plain_answer_is_a_failed_attempt(what: str, stream: bool) -> None:
    """Another attempt is made; the client gets a whole answer or, without one, our own error status."""
    api = APIS["chat"]
    good = whole(api) if stream else [JSON % (2, b"{}")]
    body = question(stream=stream)
    async with stage(Playing([MALFORMED[what]], good).worker, plan=PLAN) as scene:
        answer = await scene.ask(body)
        assert answer.status == 200
        assert answer.is_whole
        assert scene.last.attempts == 2
    async with stage(Playing([MALFORMED[what]]).worker, plan=PLAN) as scene:
        answer = await scene.ask(body)
        assert answer.status == 502
        assert scene.last.outcome is Outcome.WORKER_FAILED
        assert scene.last.detail.startswith(("malformed answer", "answer head longer"))


@virtual_time
async def test_broken_framing_after_output_ends_the_stream_in_one_error_event() -> None:
    """Broken framing acts as any other break."""
    api = APIS["chat"]
    answer, scene = await played([HEAD, chunk(api.output), 0.1, b"zz\r\n"], api=api)
    assert answer.error is not None
    assert scene.last.outcome is Outcome.WORKER_LOST_STREAMING
    assert scene.last.detail.startswith("malformed answer")


# -- complete is complete


@ALL
@pytest.mark.parametrize("missing", [b"\n\n", b"\n"])
@virtual_time
async def test_a_last_event_without_its_empty_line_is_closed(name: str, missing: bytes) -> None:
    """The answer is complete, and the gateway adds no text to it."""
    api = APIS[name]
    answer, scene = await played(
        streamed(*api.announcements, api.output, api.end.removesuffix(b"\n\n") + missing[1:]), api=api
    )
    assert answer.body == shown(api)
    assert scene.last.outcome is Outcome.COMPLETED


@ALL
@pytest.mark.parametrize("is_clean", [True, False])
@virtual_time
async def test_an_error_stands_by_itself_behind_an_event_that_was_not_closed(name: str, is_clean: bool) -> None:
    """The gateway closes a whole event first, and drops half an event."""
    api = APIS[name]
    for last, is_shown in ((api.output.removesuffix(b"\n\n"), True), (api.output[:-9], False)):
        script: list[Step] = [HEAD, *map(chunk, (*api.announcements, api.output, last)), 0.1, END if is_clean else None]
        answer, scene = await played(script, api=api)
        assert scene.last.outcome is Outcome.WORKER_LOST_STREAMING
        events = answer.events
        assert len([event for event in events if b'"error"' in event]) == 1
        assert answer.body.startswith(b"".join((*api.announcements, api.output)))
        assert answer.body.count(api.output) == 1 + is_shown
        assert b"worker_lost" in events[-1] or b"api_error" in events[-1]


@virtual_time
async def test_choices_that_have_all_finished_are_a_whole_answer_without_the_end_marker() -> None:
    """Every SDK takes it so; an unfinished choice makes it incomplete."""
    body = question(stream=True, n=2)
    events = [
        f'data: {{"choices":[{{"index":{index},"delta":{{"content":"x"}},"finish_reason":{end}}}]}}\n\n'.encode()
        for index, end in ((0, "null"), (1, '"stop"'), (0, '"length"'))
    ]
    for count, outcome in ((3, Outcome.COMPLETED), (2, Outcome.WORKER_LOST_STREAMING)):
        async with stage(Playing(streamed(*events[:count])).worker, plan=PLAN) as scene:
            answer = await scene.ask(body)
            assert scene.last.outcome is outcome
            assert answer.body.startswith(b"".join(events[:count]))
            assert (answer.error is None) is (outcome is Outcome.COMPLETED)


@ALL
@virtual_time
async def test_json_in_place_of_a_stream_passes_as_it_is_and_is_metered(name: str) -> None:
    """An engine that does not stream gave a whole answer."""
    api = APIS[name]
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "input_tokens": 7, "output_tokens": 3}
    text = str({"id": "x", "usage": usage}).replace("'", '"').encode()
    answer, scene = await played([JSON % (len(text), text)], api=api)
    assert answer.body == text
    assert answer.headers["content-type"] == "application/json"
    assert scene.last.outcome is Outcome.COMPLETED
    assert (scene.last.prompt_tokens, scene.last.output_tokens) == (7, 3)
