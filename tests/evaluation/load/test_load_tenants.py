"""The described load arrives: tenants send it to a scripted server on a real socket."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import pytest
from aiohttp import web

from evaluation.load.client import Endpoint
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import Arrivals, ClosedLoop, Load, LoadTenant, OpenLoop, Spaced

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _answer(prompt_tokens: int, output_tokens: int) -> bytes:
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": 0, "completion_tokens": output_tokens}
    return b"data: " + orjson.dumps({"choices": [], "usage": usage}) + b"\n\ndata: [DONE]\n\n"


class Server:
    """Serves completions through a handler on a free port."""

    def __init__(self, handler: Handler) -> None:
        application = web.Application()
        application.router.add_post("/v1/completions", handler)
        self._runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


@pytest.mark.parametrize("arrivals", [ClosedLoop(4), OpenLoop(200.0)], ids=["places", "requests"])
def test_a_load_is_spread_over_the_gateways_of_a_fleet(arrivals: Arrivals) -> None:
    """A tenant that comes by one gateway only sends nothing to the other."""

    async def body() -> None:
        seen: tuple[list[str], list[str]] = ([], [])

        def noting(names: list[str]) -> Handler:
            async def handler(request: web.Request) -> web.StreamResponse:
                names.append((await request.json())["model"] + request.headers["Authorization"])
                return web.Response(body=_answer(5, 7), content_type="text/event-stream")

            return handler

        both = LoadTenant("both", arrivals, Lengths(1, 1), Lengths(1, 1))
        one = replace(both, name="one", comes_by=(1,))
        async with Server(noting(seen[0])) as first, Server(noting(seen[1])) as second:
            endpoint = Endpoint(first, "m", {"both": "B", "one": "O"}, more_urls=[second])
            async with Load(endpoint, [both, one], seed=1) as load:
                assert await load.until(lambda: all(map(len, seen)) and len(seen[0] + seen[1]) > 40, 30)
        assert set(seen[0]) == {"mBearer B"}
        assert set(seen[1]) == {"mBearer B", "mBearer O"}

    asyncio.run(body())


def test_a_closed_loop_keeps_exactly_its_number_outstanding() -> None:
    """The server answers one request at a time and always holds exactly the stated number of them."""

    async def body() -> None:
        held: list[asyncio.Future[None]] = []
        full = asyncio.Event()
        most = 0

        async def handler(request: web.Request) -> web.StreamResponse:
            nonlocal most
            await request.read()
            release = asyncio.get_running_loop().create_future()
            held.append(release)
            most = max(most, len(held))
            if len(held) == 3:
                full.set()
            await release
            return web.Response(body=_answer(5, 7), content_type="text/event-stream")

        tenant = LoadTenant("a", ClosedLoop(3), Lengths(5, 5), Lengths(7, 7))
        async with Server(handler) as url, Load(Endpoint(url, "m"), [tenant], seed=1) as load:
            for _ in range(10):
                await full.wait()
                full.clear()
                held.pop(0).set_result(None)
            await full.wait()
            load.raise_failure()
            assert most == 3
            done = [record for record in load.tallies["a"].records if record.is_complete]
            assert len(done) == 10 and len(load.tallies["a"].records) == 13
            assert load.tallies["a"].service.total == 10 * (5 + 2 * 7)
            assert load.tallies["a"].tokens.total == 10 * 7
            for release in held:
                release.cancel()

    asyncio.run(body())


@pytest.mark.parametrize("arrivals", [OpenLoop(1000.0), Spaced(0.0005, 0.0015)])
def test_an_open_loop_does_not_wait_for_answers(arrivals: OpenLoop | Spaced) -> None:
    """Requests keep coming while the server answers none."""

    async def body() -> None:
        arrived = 0
        enough = asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            nonlocal arrived
            arrived += 1
            if arrived == 20:
                enough.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError("nobody answers")

        tenant = LoadTenant("a", arrivals, Lengths(1, 1), Lengths(1, 1))
        async with Server(handler) as url, Load(Endpoint(url, "m"), [tenant], seed=1):
            await enough.wait()

    asyncio.run(body())


def test_a_request_carries_what_its_tenant_says() -> None:
    """Every request has the credential, the model, a known length and running usage."""

    async def body() -> None:
        seen: asyncio.Future[tuple[str | None, dict[str, object]]] = asyncio.get_running_loop().create_future()

        async def handler(request: web.Request) -> web.StreamResponse:
            if not seen.done():
                seen.set_result((request.headers.get("Authorization"), await request.json()))
            await asyncio.get_running_loop().create_future()
            raise AssertionError("nobody answers")

        tenant = LoadTenant("a", ClosedLoop(1), Lengths(9, 9), Lengths(4, 4))
        async with (
            Server(handler) as url,
            Load(Endpoint(url, "m", {"a": "vtc-secret"}), [tenant], seed=1),
        ):
            credential, fields = await seen
        assert credential == "Bearer vtc-secret"
        assert len(str(fields.pop("prompt"))) == 9
        assert fields == {
            "model": "m",
            "max_tokens": 4,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }

    asyncio.run(body())


def test_a_server_that_gives_up_kept_connections_fails_no_request() -> None:
    """The server closes each connection at its second request, as vLLM closes one that was idle for 5 s."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        answer = _answer(5, 7)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        await reader.read(65536)
        writer.close()

    async def body() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        tenant = LoadTenant("a", ClosedLoop(2), Lengths(5, 5), Lengths(7, 7))
        async with server, Load(Endpoint(f"http://{host}:{port}", "m"), [tenant], seed=1) as load:
            records = load.tallies["a"].records
            while sum(record.is_complete for record in records) < 20:
                await asyncio.sleep(0)
                load.raise_failure()
            assert not [record.error for record in records if record.error]
            assert load.tallies["a"].tokens.total == 7 * sum(record.is_complete for record in records)

    asyncio.run(body())


def test_nobody_listening_is_a_failure_of_the_request_not_of_the_load() -> None:
    """The record has the refused connection as its error, and the load goes on."""

    async def body() -> None:
        tenant = LoadTenant("a", OpenLoop(1000.0), Lengths(1, 1), Lengths(1, 1))
        async with Load(Endpoint("http://127.0.0.1:9", "m"), [tenant], seed=1) as load:
            while not (records := load.tallies["a"].records) or records[0].ended_at is None:  # noqa: ASYNC110
                await asyncio.sleep(0)
            load.raise_failure()
            assert records[0].has_failed
            assert records[0].error.startswith("cannot connect")

    asyncio.run(body())


@pytest.mark.parametrize("seed", [1, 2])
def test_lengths_cover_both_ends(seed: int) -> None:
    """Both ends are drawn, nothing beyond them is, and the mean lies in the middle."""
    source = random.Random(seed)
    lengths = Lengths(3, 6)
    assert {lengths.draw(source) for _ in range(200)} == {3, 4, 5, 6}
    assert lengths.mean == 4.5


def test_a_client_without_patience_leaves_and_is_no_fault() -> None:
    """The client closes its connection before the answer comes, and the next request is sent."""

    async def body() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError("nobody lets it go on")

        tenant = LoadTenant("a", ClosedLoop(1), Lengths(5, 5), Lengths(7, 7), patience_seconds=0.01)
        async with Server(handler) as url, Load(Endpoint(url, "m"), [tenant], seed=1) as load:
            records = load.tallies["a"].records
            assert await load.until(lambda: len(records) > 1, 30)
            assert records[0].has_left and not records[0].has_failed and records[0].ended_at is not None

    asyncio.run(body())
