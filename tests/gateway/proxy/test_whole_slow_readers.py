"""Clients that read slowly or not at all are cut at a least rate, and what waits for them is bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from math import inf

import pytest
from raw_client import Answer, Client
from virtual_time import virtual_time
from whole_gateway import ADMIN_KEY, Plan, Stage, chat, key_of, stage, with_gateway
from workers_on_stage import ENGINE_CONFIG, Respond, ScriptedWorker

from gateway.clients.downstream import HIGH_WATER_BYTES, LEAST_BYTES_PER_SECOND
from gateway.config import Window
from gateway.endpoints.upstream import RECEIVE_BYTES
from gateway.outcomes import Outcome
from gateway.proxy.utility import MAX_AT_ONCE_PER_TENANT

STALL_SECONDS = 10.0  # write_stall_seconds on every stage
KIB = 1024
MIB = 1024 * KIB
CROWD = 100
READ_BYTES = 2 * RECEIVE_BYTES  # the most that is taken from a worker at once
LARGE = b'{"tokens":[%b0]}' % (b"1234," * 200_000)
TOKENIZE = {"model": "tiny", "prompt": "hi"}


def now() -> float:
    """Return the virtual seconds."""
    return asyncio.get_running_loop().time()


async def large_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer anything with a megabyte."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(LARGE) + LARGE)


async def take(client: Client, piece_bytes: int, pause_seconds: float) -> int:
    """Take so many bytes after each pause; returns how many came until the connection broke."""
    taken = 0
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            piece = await client.take(piece_bytes)
        except (asyncio.IncompleteReadError, ConnectionError):
            return taken
        taken += len(piece)


async def ask_chat(scene: Stage) -> Client:
    """Ask for a stream of several megabytes."""
    return await scene.open(chat(1900, logprobs=True, top_logprobs=20), receive_bytes=4096)


async def ask_whole(scene: Stage) -> Client:
    """Ask for an answer of a megabyte that is not streamed."""
    return await scene.open(chat(5, stream=False), receive_bytes=4096)


async def ask_utility(scene: Stage) -> Client:
    """Ask for a utility's answer of a megabyte."""
    return await scene.open(TOKENIZE, path="/tokenize", receive_bytes=4096)


@pytest.mark.parametrize("ask", [ask_chat, ask_whole, ask_utility])
@pytest.mark.parametrize(("piece_bytes", "pause_seconds"), [(2 * KIB, 5.0), (KIB, 1.0), (8 * KIB, 9.0)])
@virtual_time
async def test_a_client_below_the_least_rate_is_cut(
    ask: Callable[[Stage], Awaitable[Client]], piece_bytes: int, pause_seconds: float
) -> None:
    """A few kB now and then do not hold a slot, a place or an answer for hours, whatever was asked."""
    workers = () if ask is ask_chat else (ScriptedWorker(large_answer),)
    async with stage(*workers) as scene:
        client = await ask(scene)
        taking = asyncio.create_task(take(client, piece_bytes, pause_seconds))
        await scene.until_finished(1)
        assert scene.last.outcome is Outcome.CLIENT_STALLED
        rate = piece_bytes / pause_seconds
        buffered = 256 * KIB  # taken at its own pace before it counts as behind
        assert now() < buffered / rate + STALL_SECONDS / (1 - rate / LEAST_BYTES_PER_SECOND) + 60
        client.leave()
        await taking
        await scene.settled()


@pytest.mark.parametrize("ask", [ask_whole, ask_utility])
@virtual_time
async def test_a_slow_client_above_the_least_rate_gets_everything(ask: Callable[[Stage], Awaitable[Client]]) -> None:
    """A client that keeps taking bytes is not cut within ten times the stall limit."""
    async with stage(ScriptedWorker(large_answer)) as scene:
        client = await ask(scene)
        began = now()
        assert await take(client, 8 * KIB, 1.0) > len(LARGE) - 8 * KIB
        assert now() - began > 100
        await scene.until_finished(1)
        assert scene.last.outcome is Outcome.COMPLETED
        await client.close()


def endless_stream(event_bytes: int, slow_tokens: float) -> Respond:
    """Stream for as long as somebody reads: first `slow_tokens` one by one, then as fast as it is read."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        text = b"x" * event_bytes
        for tokens in count(1):
            usage = b'"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d}' % (5 + tokens, tokens)
            event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}],%b}\n\n' % (text, usage)
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            if tokens <= slow_tokens:
                await asyncio.sleep(0.01)

    return respond


@pytest.mark.parametrize(
    ("event_bytes", "slow_tokens", "most_bytes"),
    [(2000, inf, HIGH_WATER_BYTES + 16 * KIB)]
    + [(4000, slow_tokens, HIGH_WATER_BYTES + 8 * KIB + READ_BYTES) for slow_tokens in (0, 25, 30, 33)],
)
@virtual_time
async def test_a_hundred_readers_that_never_read_cost_a_bounded_memory_each_and_pay(
    event_bytes: int, slow_tokens: float, most_bytes: int
) -> None:
    """Each holds the mark and one read beyond it, is cut after the stall limit, and is charged."""
    wide = Window(sequences=CROWD, slack=0, prefill_tokens=2**20)
    worker = ScriptedWorker(endless_stream(event_bytes, slow_tokens))
    async with stage(worker, plan=Plan(window=wide)) as scene:
        clients = [await scene.open(chat(1900), receive_bytes=4096) for _ in range(CROWD)]
        most = 0
        while len(scene.finished) < CROWD:
            await asyncio.sleep(0.25)
            most = max(most, *scene.unread_bytes, 0)
        assert HIGH_WATER_BYTES / 2 < most <= most_bytes < 192_000
        assert set(scene.outcomes) == {Outcome.CLIENT_STALLED}
        assert all(event.output_tokens for event in scene.finished)
        assert now() < 2 * STALL_SECONDS + 5
        for client in clients:
            client.leave()
        await scene.settled()


@virtual_time
async def test_a_utility_place_is_held_until_the_answer_is_taken() -> None:
    """A tenant may have so many unread answers; its next request is refused, and another tenant's is not."""
    async with stage(ScriptedWorker(large_answer)) as scene:
        unread = [await ask_utility(scene) for _ in range(MAX_AT_ONCE_PER_TENANT)]
        await scene.turn(1000)
        held = scene.held_bytes
        assert MAX_AT_ONCE_PER_TENANT * len(LARGE) <= held < scene.gateway.most_held_bytes()
        assert (await scene.ask(TOKENIZE, path="/tokenize")).status == 429
        assert (await scene.ask(TOKENIZE, "bob", path="/tokenize")).status == 200
        await scene.until_finished(MAX_AT_ONCE_PER_TENANT + 2)
        assert scene.outcomes.count(Outcome.CLIENT_STALLED) == MAX_AT_ONCE_PER_TENANT
        for client in unread:
            client.leave()


@virtual_time
async def test_unread_answers_count_in_memory() -> None:
    """If unread answers exceed the memory, the newest is broken off, but not another tenant's."""
    plan = Plan(listen={"max_body_mib": 1, "max_bodies_mib": 3})
    async with stage(ScriptedWorker(large_answer), plan=plan) as scene:
        unread = [await ask_utility(scene)]
        for _ in range(2):
            await scene.turn(200)
            unread.append(await ask_utility(scene))
        await scene.turn(200)
        assert scene.held_bytes == 3 * len(LARGE)
        assert (await scene.ask(TOKENIZE, "bob", path="/tokenize")).is_whole
        assert scene.outcomes == [Outcome.BODY_PUSHED_OUT, Outcome.COMPLETED]
        answer = await unread[-1].read()
        assert answer.status == 200
        assert not answer.is_whole
        for client in unread:
            client.leave()


@pytest.mark.parametrize(
    ("path", "key"), [("/metrics", None), ("/debug/state", ADMIN_KEY), ("/v1/models", key_of("alice"))]
)
@virtual_time
async def test_pages_that_nobody_reads_are_cut_and_bounded(path: str, key: str | None) -> None:
    """A hundred unread pages are bounded in bytes, and gone after the stall limit."""
    async with stage(plan=Plan(pool={"aliases": tuple(f"alias-{n:03}-{'x' * 200}" for n in range(64))})) as scene:
        clients = []
        for _ in range(50):
            client = await Client.connect(scene.url, receive_bytes=4096)
            for _ in range(20):  # one behind the other on its connection
                client.send(path, headers={"Authorization": f"Bearer {key}"} if key else {})
            clients.append(client)
        await asyncio.sleep(1)
        assert scene.held_bytes
        await asyncio.sleep(3 * STALL_SECONDS)
        assert scene.held_bytes == 0
        assert scene.open_connections == 0
        for client in clients:
            client.leave()


@with_gateway()
async def test_a_page_by_head_has_the_length_and_no_body(scene: Stage) -> None:
    """The connection then serves the next request."""
    client = await scene.connect()
    client.send_raw(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await client.read(has_body=False)
    assert answer.status == 200
    assert int(answer.headers["content-length"]) > 1000
    client.send("/health")
    assert (await client.read()).json == {"status": "ok"}
    await client.close()


@with_gateway(listen={"keepalive_timeout_seconds": 5})
async def test_what_nobody_takes_does_not_keep_a_closing_connection(scene: Stage) -> None:
    """An idle client leaves less unread than counts as behind: its connection ends with the stall limit too."""
    client = await Client.connect(scene.url, receive_bytes=4096)
    for _ in range(60):
        client.send("/v1/models", headers=scene.credential("alice"))
    await asyncio.sleep(1)
    assert scene.open_connections == 1
    await asyncio.sleep(5 + STALL_SECONDS)
    assert scene.open_connections == 0
    client.leave()


LONG = chat(600, logprobs=True, top_logprobs=20)  # about a megabyte in four seconds


@with_gateway(engine=ENGINE_CONFIG, listen={"write_stall_seconds": 3000})
async def test_what_the_engine_has_finished_holds_no_room(scene: Stage) -> None:
    """A client that reads nothing keeps its slot while the engine works, and no longer; it pays for all of it."""
    client = await scene.open(LONG, receive_bytes=4096)
    await scene.until(lambda: scene.in_flight)
    await asyncio.sleep(2)
    assert scene.in_flight == 1
    await asyncio.sleep(10)
    assert scene.in_flight == 0
    assert not scene.finished
    assert scene.held_bytes > 0
    assert scene.service("alice") == pytest.approx(20 + 2 * 600, abs=20)
    answer = await read_all(client)
    assert answer.is_done
    await scene.settled()
    assert scene.last.outcome is Outcome.COMPLETED
    assert scene.last.output_tokens == 600


async def read_all(client: Client) -> Answer:
    """Read the whole answer as fast as it comes."""
    answer = await client.read()
    await client.close()
    return answer


@with_gateway(engine=ENGINE_CONFIG, listen={"write_stall_seconds": 3000, "max_body_mib": 1, "max_bodies_mib": 2})
async def test_unread_remainders_make_way_for_requests(scene: Stage) -> None:
    """What is read on for slow clients is within the memory for bodies, and goes first when another tenant needs it."""
    clients = [await scene.open(LONG, receive_bytes=4096) for _ in range(4)]
    await asyncio.sleep(30)
    assert MIB < scene.held_bytes <= scene.gateway.most_held_bytes()
    body = chat(1, metadata={"padding": "x" * (1000 * KIB)})
    assert (await scene.ask(body, "bob")).is_done
    assert Outcome.BODY_PUSHED_OUT in scene.outcomes
    assert {event.tenant for event in scene.finished if event.outcome is Outcome.BODY_PUSHED_OUT} == {"alice"}
    for client in clients:
        client.leave()


@with_gateway(engine=ENGINE_CONFIG, listen={"write_stall_seconds": 3000})
async def test_a_slow_stream_that_has_not_ended_is_not_read_on(scene: Stage) -> None:
    """While the engine has every sequence that the gateway counts there, nothing is taken into memory."""
    client = await scene.open(chat(1900, logprobs=True, top_logprobs=20), receive_bytes=4096)
    await scene.until(lambda: scene.in_flight)
    await asyncio.sleep(5)
    assert scene.in_flight == 1
    assert scene.held_bytes == 0
    client.leave()
