"""Workers break, and each of their requests ends in the right way."""

import asyncio

import pytest
from virtual_time import run_in_virtual_time, virtual_time
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import ENGINE_CONFIG, EngineWorker, ScriptedWorker, fault, faults

from backend.engine.faults import FaultKind
from backend.engine.witness import Witness
from gateway.config import Timeouts, Window
from gateway.outcomes import Outcome
from gateway.proxy.dispatcher import PAUSE_SECONDS

ONE_SLOT = Window(sequences=1, slack=0, prefill_tokens=2048)
TOKEN = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":0,"model":"tiny","choices":[{"index":0,'
    b'"delta":{"content":"a"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":20,"total_tokens":21,'
    b'"completion_tokens":1}}\n\n'
)
DONE = b"data: [DONE]\n\n"
ANSWER = b'{"choices":[{"index":0}],"usage":{"prompt_tokens":20,"total_tokens":25,"completion_tokens":5}}'


def raw(head: bytes, body: bytes = b"", *, closes: bool = False) -> ScriptedWorker:
    """Make a worker that answers every request with these bytes, then perhaps closes."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.replace(b"\n", b"\r\n") + b"\r\n" + body)
        if closes:
            writer.close()

    return ScriptedWorker(respond)


def other(scene: Stage) -> str:
    """Return the worker that did not get the first request."""
    first = scene.dispatched[0].worker
    return next(each.worker for each in scene.gateway.workers() if each.worker != first)


@virtual_time
async def test_a_worker_killed_before_the_first_byte_is_replaced_once() -> None:
    """The client sees one whole answer from the other worker; the lost attempt costs nothing."""
    slow = faults(fault(FaultKind.STALL_FIRST_BYTE))
    async with stage(EngineWorker(slow), EngineWorker(slow)) as scene:
        asking = scene.asking(chat(5))
        await scene.until(lambda: scene.dispatched)
        await asyncio.sleep(0.5)
        scene.engines[0].kill()
        await scene.until(lambda: len(scene.dispatched) == 2)
        assert scene.dispatched[1].worker == other(scene)
        asking.cancel()
        await scene.settled()
    async with stage(EngineWorker(slow), EngineWorker()) as scene:
        asking = scene.asking(chat(5))
        await asyncio.sleep(0.5)
        scene.engines[0].kill()
        answer = await asking
        assert answer.is_done
        assert scene.last.attempts == 2
        assert scene.last.service == scene.last.prompt_tokens + 2 * 5


@virtual_time
async def test_a_worker_killed_in_mid_stream_is_reported_in_one_error_event() -> None:
    """Every stream of the dead worker ends in exactly one error event without [DONE], charged for what came."""
    async with stage() as scene:
        asking = [scene.asking(chat(200)) for _ in range(4)]
        await asyncio.sleep(0.5)
        scene.engines[0].kill()
        for answer in await asyncio.gather(*asking):
            assert answer.status == 200
            assert answer.is_whole
            assert not answer.is_done
            assert b"[DONE]" not in answer.body
            assert answer.error is not None
            assert answer.error["code"] == "worker_lost"
        for event in scene.finished:
            assert event.outcome is Outcome.WORKER_LOST_STREAMING
            assert event.attempts == 1
            assert event.output_tokens > 10
            assert event.service == event.prompt_tokens + 2 * event.output_tokens


@virtual_time
async def test_a_refused_connection_takes_the_worker_down_and_the_queue_is_served_by_the_other() -> None:
    """Twenty requests queued when a worker dies are all answered by the one that is left."""
    async with stage(EngineWorker(), EngineWorker(), plan=Plan(window=ONE_SLOT)) as scene:
        asking = [scene.asking(chat(30)) for _ in range(20)]
        await scene.until(lambda: scene.queued == 18)
        scene.engines[0].kill()
        answers = await asyncio.gather(*asking)
        assert sum(answer.is_done for answer in answers) >= 19
        assert all(answer.is_done or answer.error is not None for answer in answers)
        assert [change.state for change in scene.changes if change.worker == "tiny/w0"] == ["serving", "down"]


@virtual_time
async def test_without_any_worker_new_requests_are_refused_and_queued_ones_wait() -> None:
    """No outage is waited out: new requests get 503 at once, and those that wait are served when a worker is back."""
    plan = Plan(
        window=ONE_SLOT,
        scheduler={"queue_timeout_seconds": 20},
        pool={"timeouts": Timeouts(first_byte_seconds=20, stall_seconds=5, outage_seconds=0)},
    )
    async with stage(plan=plan) as scene:
        asking = [scene.asking(chat(100)) for _ in range(3)]
        await scene.until(lambda: scene.queued == 2)
        scene.engines[0].kill()
        await scene.until_worker_is("down")
        refused = await scene.ask(chat(1))
        assert refused.status == 503
        assert refused.json["error"]["code"] == "no_worker"
        assert scene.queued >= 2
        await asyncio.sleep(5)
        await scene.engines[0].start()
        answers = await asyncio.gather(*asking)
        assert [answer.is_done for answer in answers[1:]] == [True, True]


@virtual_time
async def test_without_any_worker_the_queue_waits_until_its_deadline() -> None:
    """No worker comes back: each queued request ends as no_worker at its deadline, uncharged."""
    async with stage(plan=Plan(window=ONE_SLOT, scheduler={"queue_timeout_seconds": 8})) as scene:
        asking = [scene.asking(chat(1000)) for _ in range(3)]
        await scene.until(lambda: scene.queued == 2)
        scene.engines[0].kill()
        answers = await asyncio.gather(*asking)
        assert [answer.status for answer in answers] == [200, 503, 503] or answers[0].status in (502, 503)
        waited = [event for event in scene.finished if event.outcome is Outcome.NO_WORKER]
        assert len(waited) >= 2
        assert all(event.service == 0 for event in waited)
        assert all(7.9 < event.duration_seconds < 8.1 for event in waited if event.attempts == 0)


@virtual_time
async def test_an_engine_without_room_gets_a_pause_and_the_request_keeps_its_place() -> None:
    """After a 503 the request goes first again, uncharged for the refusal, half a second later."""
    no_room = faults(fault(FaultKind.REFUSE, nth=1, status=503))
    async with stage(EngineWorker(no_room), plan=Plan(window=ONE_SLOT)) as scene:
        first = scene.asking(chat(5))
        await scene.until(lambda: scene.in_flight)
        second = scene.asking(chat(5))
        assert (await first).is_done
        assert (await second).is_done
        assert [event.request_id for event in scene.finished] == sorted(event.request_id for event in scene.finished)
        assert scene.finished[0].attempts == 2
        assert scene.finished[0].duration_seconds > PAUSE_SECONDS
        assert scene.finished[0].service == scene.finished[1].service
        assert len(scene.engine_count(scene.finished[0].request_id)) == 1


@virtual_time
async def test_a_silent_worker_is_given_up_at_the_first_byte_limit() -> None:
    """Without a first byte in two attempts the client gets 504 and pays nothing."""
    silent = faults(fault(FaultKind.STALL_FIRST_BYTE, every=1))
    plan = Plan(pool={"timeouts": Timeouts(connect_seconds=2, first_byte_seconds=3, stall_seconds=5)})
    async with stage(EngineWorker(silent), EngineWorker(silent), plan=plan) as scene:
        answer = await scene.ask(chat(5))
        assert answer.status == 504
        assert {grant.worker for grant in scene.dispatched} == {"tiny/w0", "tiny/w1"}
        assert 6 <= scene.last.duration_seconds < 6.1
        assert scene.last.service == 0


@virtual_time
async def test_a_stream_that_falls_silent_ends_at_the_stall_limit() -> None:
    """A stream without a byte for the limit ends in one error event then, and pays for what was seen."""
    async with stage(EngineWorker(faults(fault(FaultKind.STALL, after_tokens=7)))) as scene:
        answer = await scene.ask(chat(50))
        assert answer.error is not None
        assert answer.error["code"] == "worker_stalled"
        assert scene.last.outcome is Outcome.WORKER_STALLED
        assert 5 <= scene.last.duration_seconds < 10.1
        assert scene.last.output_tokens == len(answer.documents) - 2


def streaming(tokens: int) -> ScriptedWorker:
    """Make a worker that sends so many events, one a second, and then nothing."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for _ in range(tokens):
            writer.write(TOKEN)
            await asyncio.sleep(1)
        await reader.read()

    return ScriptedWorker(respond)


@virtual_time
@pytest.mark.parametrize(("tokens", "is_ejected"), [(30, False), (1, True)])
async def test_a_probe_without_an_answer_counts_only_where_nothing_else_comes(tokens: int, is_ejected: bool) -> None:
    """An engine too busy for `/health` that sends its streams on goes on serving; one that is silent does not."""
    worker = streaming(tokens)
    plan = Plan(pool={"timeouts": Timeouts(connect_seconds=2, first_byte_seconds=3, stall_seconds=60)})
    async with stage(worker, plan=plan) as scene:
        worker.answers_probes = False
        client = await scene.open(chat(100))
        await asyncio.sleep(25)
        assert any(change.state == "down" for change in scene.changes) is is_ejected
        await client.close()
        await scene.settled()


@virtual_time
async def test_a_stream_cut_inside_an_event_shows_the_client_whole_events_only() -> None:
    """What the engine left unfinished is not passed on: every event that the client has is well-formed."""
    async with stage(EngineWorker(faults(fault(FaultKind.CUT_EVENT, after_tokens=7)))) as scene:
        answer = await scene.ask(chat(50))
        assert answer.error is not None
        assert answer.is_whole
        assert len(answer.documents) >= 7


@virtual_time
async def test_an_answer_cut_in_its_body_is_cut_for_the_client_too() -> None:
    """A JSON answer that breaks off reaches the client as a broken connection, chunked or with a length."""
    async with stage(EngineWorker(faults(fault(FaultKind.CUT)))) as scene:
        answer = await scene.ask(chat(50, stream=False))
        assert not answer.is_whole
        assert scene.last.outcome is Outcome.WORKER_LOST_STREAMING
    chunk = b"%x\r\n%b\r\n" % (len(ANSWER) // 2, ANSWER[: len(ANSWER) // 2])
    worker = raw(b"HTTP/1.1 200 OK\ntransfer-encoding: chunked\n", chunk, closes=True)
    async with stage(worker) as scene:
        answer = await scene.ask(chat(50, stream=False))
        assert answer.status == 200
        assert not answer.is_whole


@virtual_time
async def test_an_answer_that_is_not_http_is_a_failed_attempt() -> None:
    """After garbage, an endless head or a head that breaks off, it is tried once more, then 502, uncharged."""
    broken = {
        "garbage": raw(b"SSH-2.0-OpenSSH\n", closes=True),
        "head too long": raw(b"HTTP/1.1 200 OK\nx: " + b"y" * 1_000_000),
        "head cut": raw(b"HTTP/1.1 200 OK\nx:", closes=True),
        "nothing": raw(b"", closes=True),
        "error cut": raw(b"HTTP/1.1 400 Bad\ncontent-length: 50\n", b"{", closes=True),
    }
    for name, worker in broken.items():
        async with stage(worker) as scene:
            answer = await scene.ask(chat(5))
            assert answer.status == 502, name
            assert len(worker.requests) == 2, name
            assert scene.last.service == 0, name


@virtual_time
async def test_a_body_without_length_ends_with_its_connection() -> None:
    """A worker that closes at the end of its body, in order, has given a whole answer."""
    worker = raw(b"HTTP/1.1 200 OK\ncontent-type: application/json\n", ANSWER, closes=True)
    async with stage(worker) as scene:
        answer = await scene.ask(chat(5, stream=False))
        assert answer.is_whole
        assert answer.body == ANSWER
        assert scene.last.outcome is Outcome.COMPLETED
        assert scene.last.service == 20 + 2 * 5
    stream = raw(b"HTTP/1.1 200 OK\ncontent-type: text/event-stream\n", TOKEN + DONE, closes=True)
    async with stage(stream) as scene:
        answer = await scene.ask(chat(5))
        assert answer.is_done


@virtual_time
async def test_an_engine_error_event_passes_and_is_not_doubled() -> None:
    """The engine's own error in the stream reaches the client as it is; ours is not added."""
    async with stage(EngineWorker(faults(fault(FaultKind.ERROR_EVENT, after_tokens=3)))) as scene:
        answer = await scene.ask(chat(50))
        assert answer.error is not None
        assert "EngineCore" in answer.error["message"]
        assert scene.last.outcome is Outcome.WORKER_LOST_STREAMING
        assert scene.last.output_tokens >= 2


@virtual_time
async def test_an_engine_that_hides_or_invents_usage_is_still_settled() -> None:
    """Without usage the estimate is settled, with wrong usage the engine's word up to what was asked for; both once."""
    script = faults(fault(FaultKind.NO_USAGE, nth=1), fault(FaultKind.WRONG_USAGE, nth=2, usage_factor=3.0))
    async with stage(EngineWorker(script)) as scene:
        for stream in (True, False):
            assert (await scene.ask(chat(10, stream=stream))).status == 200
        hidden, wrong = scene.finished
        assert hidden.outcome is wrong.outcome is Outcome.COMPLETED
        assert hidden.service > 0
        assert wrong.output_tokens == 10, "three times as much was told: never more than could be generated"


@virtual_time
async def test_a_stale_connection_is_replaced_without_a_lost_attempt() -> None:
    """If the engine closes a kept connection, that costs neither an attempt nor the worker's health."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if worker.connections == 1 and len(worker.requests) == 2:
            writer.close()  # the request crossed the close: it was never worked on
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))

    worker = ScriptedWorker(respond)
    async with stage(worker) as scene:
        for _ in range(2):
            assert (await scene.ask(chat(5, stream=False))).body == ANSWER
        assert worker.connections == 2
        assert len(worker.requests) == 3
        assert scene.last.attempts == 1
        assert [change.state for change in scene.changes] == ["serving"]


@virtual_time
async def test_connections_are_kept_only_as_long_as_the_engine_keeps_them() -> None:
    """Requests in quick succession share a connection; after the engine's keep-alive time a new one is made."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))

    worker = ScriptedWorker(respond)
    async with stage(worker) as scene:
        for pause, connections in ((0.0, 1), (2.0, 1), (4.0, 2)):
            await asyncio.sleep(pause)
            await scene.ask(chat(5, stream=False))
            assert worker.connections == connections


@pytest.mark.parametrize(("choices", "most"), [(1, 5), (2, 5 + 2 * 2 - 2)])
def test_the_engine_never_holds_more_than_the_window(choices: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait at the gateway, what is at the engine stays within sequences plus slack.

    Requests of several sequences that end together stay within the bound of `workers.window`: fewer than W + 2n - 1.
    """
    held: list[int] = []
    see = Witness.see

    def watch(self: Witness, running: int, waiting: int) -> None:
        held.append(running + waiting)
        see(self, running, waiting)

    async def story() -> None:
        async with stage(plan=Plan(window=Window(sequences=4, slack=1, prefill_tokens=2048))) as scene:
            asking = [scene.asking(chat(20, n=1 + index % choices)) for index in range(40)]
            for answer in await asyncio.gather(*asking):
                assert answer.is_done
            assert scene.engines[0].engine.witness.max_running == ENGINE_CONFIG.capacity.max_num_seqs

    monkeypatch.setattr(Witness, "see", watch)
    run_in_virtual_time(story())
    assert (max(held) == most) if choices == 1 else (max(held) <= most)
