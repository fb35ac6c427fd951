"""Clients that leave, read slowly, or speak the older protocol."""

import asyncio

import pytest
from raw_client import Client
from virtual_time import virtual_time
from whole_gateway import CHAT, Plan, chat, stage
from workers_on_stage import EngineWorker, ScriptedWorker

from backend.engine.config import EngineConfig
from gateway.clients.downstream import HIGH_WATER_BYTES
from gateway.config import Window
from gateway.outcomes import Outcome

ONE_SLOT = Window(sequences=1, slack=0, prefill_tokens=2048)
AT_ONCE_SECONDS = 0.01  # of virtual time: less than two steps of the engine
MOST_READ_AT_ONCE_BYTES = 256 * 1024  # asyncio's, and what one read of the worker adds beyond the mark
LONG = EngineConfig.of_profile("cpu-tiny", "tiny", max_num_seqs=4, max_model_len=8192)


@pytest.mark.parametrize("stream", [True, False])
@virtual_time
async def test_a_client_that_leaves_the_queue_is_gone_at_once(stream: bool) -> None:
    """Its place is free, and the gateway neither dispatches nor charges it."""
    async with stage(plan=Plan(window=ONE_SLOT)) as scene:
        running = scene.asking(chat(100))
        await scene.until(lambda: scene.in_flight)
        client = await scene.open(chat(10, stream=stream), "bob")
        await scene.until(lambda: scene.queued)
        client.leave()
        await asyncio.sleep(AT_ONCE_SECONDS)
        assert scene.queued == 0
        assert scene.outcomes == [Outcome.CLIENT_GONE_QUEUED]
        assert (await running).is_done
        assert scene.service("bob") == 0
        assert len(scene.dispatched) == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after_seconds", [0.0, 0.5])
@virtual_time
async def test_a_client_that_leaves_its_answer_gives_all_back_at_once(stream: bool, after_seconds: float) -> None:
    """Room, prefill room and queue place are free within a step, the engine aborts, what was generated is paid."""
    async with stage() as scene:
        client = await scene.open(chat(1000, stream=stream))
        await scene.until(lambda: scene.in_flight)
        await asyncio.sleep(after_seconds)
        client.leave()
        await asyncio.sleep(AT_ONCE_SECONDS)
        scene.check_idle()
        witness = scene.engines[0].engine.witness
        assert witness.aborted == witness.started
        generated = witness.output_tokens
        if stream:
            assert generated - 2 <= scene.last.output_tokens <= generated
        elif after_seconds:
            # Unseen, it is paid by the estimate: the rate that is assumed before the first answer has been seen.
            assert 0 < scene.last.output_tokens <= generated
        gone = Outcome.CLIENT_GONE_STREAMING if stream and after_seconds else Outcome.CLIENT_GONE_WAITING
        assert scene.last.outcome is gone


@virtual_time
async def test_a_client_that_reads_nothing_is_bounded_alone_and_cut() -> None:
    """Its worker is not read on, its buffer is bounded, others go on as before, and it pays when it is cut."""
    plan = Plan(pool={"max_model_len": 8192})
    async with stage(EngineWorker(LONG), plan=plan) as scene:
        client = await scene.open(chat(6000, logprobs=True, top_logprobs=20), receive_bytes=4096)
        await asyncio.sleep(1)
        alone = (await scene.ask(chat(20), "bob")).times
        for _ in range(70):
            await asyncio.sleep(0.5)
            assert max(scene.unread_bytes, default=0) <= HIGH_WATER_BYTES + MOST_READ_AT_ONCE_BYTES
        beside = (await scene.ask(chat(20), "bob")).times
        assert beside[-1] - beside[0] == pytest.approx(alone[-1] - alone[0], rel=0.3)
        await scene.until_finished(3)
        cut = next(event for event in scene.finished if event.tenant == "alice")
        assert cut.outcome is Outcome.CLIENT_STALLED
        assert cut.output_tokens > 0
        assert cut.service == cut.prompt_tokens + 2 * cut.output_tokens
        assert cut.duration_seconds > scene.gateway.config.listen.write_stall_seconds
        client.leave()


@virtual_time
async def test_a_client_that_reads_slowly_gets_everything() -> None:
    """A reader slower than the engine is waited for, and loses no byte."""
    body = chat(1500, logprobs=True, top_logprobs=20, seed=1)
    async with stage() as scene:
        quick = await scene.ask(body)
        client = await scene.open(body, receive_bytes=4096)
        await client.read_head()
        await client.read_slowly(0.05)
        assert client.answer.is_done
        assert len(client.answer.documents) == len(quick.documents)
        assert scene.last.outcome is Outcome.COMPLETED
        await client.close()


@virtual_time
async def test_a_connection_paused_for_a_slow_client_serves_the_next_request() -> None:
    """The worker's connection is read again when it is kept, even where the last bytes of an answer had it paused."""
    large = b'{"choices":[],"text":"%b"}' % (b"x" * 200_000)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(large), large[:1]))
        await asyncio.sleep(0.1)
        writer.write(large[1:])

    worker = ScriptedWorker(respond)
    async with stage(worker) as scene:
        client = await scene.open(chat(5, stream=False), receive_bytes=4096)
        await client.read_head()
        await asyncio.sleep(1)
        assert max(scene.unread_bytes) > HIGH_WATER_BYTES, "the client is not slow enough to matter"
        assert (await client.read_rest()).body == large
        assert (await scene.ask(chat(5, stream=False))).body == large
        assert worker.connections == 1
        assert scene.last.attempts == 1
        await client.close()


@virtual_time
async def test_a_client_of_http_1_0_gets_bare_bytes_and_the_end_of_the_connection() -> None:
    """Streamed or not, it gets the same events without chunks, and the connection ends."""
    async with stage() as scene:
        answer = await scene.ask(chat(10), version="1.0")
        assert answer.is_done
        assert "transfer-encoding" not in answer.headers
        assert (await scene.ask(chat(10, stream=False), version="1.0")).json["choices"]
        assert scene.outcomes == [Outcome.COMPLETED] * 2


@virtual_time
async def test_connections_are_kept_unless_the_client_says_close() -> None:
    """Requests in turn share a connection; `Connection: close` ends it after the answer."""
    async with stage() as scene:
        client = await Client.connect(scene.url)
        for stream in (True, False, True):
            client.send(CHAT, chat(3, stream=stream), scene.credential("alice"))
            assert (await client.read()).is_whole
        client.send(CHAT, chat(3), {**scene.credential("alice"), "Connection": "close"})
        assert (await client.read()).is_done
        assert await client.is_closed()
        await client.close()
