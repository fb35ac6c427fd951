"""The distorting proxy passes everything on but the metrics, and those as it is told."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from evaluation.bench.probe import Gauges
from evaluation.bench.window.distortion import CROWD, DistortingProxy, Distortion, distorting, told

PAGE = (
    'vllm:num_requests_running{engine="0"} 8.0\n'
    'vllm:num_requests_waiting{engine="0"} 2.0\n'
    'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 2.0\n'
    'vllm:kv_cache_usage_perc{engine="0"} 0.4\n'
    'vllm:generation_tokens_total{engine="0"} 77.0\n'
)


@pytest.mark.parametrize(
    ("distortion", "gauges"),
    [
        (Distortion.HONEST, Gauges(2, 8, 0, 0.4)),
        (Distortion.CLAIMS_IDLE, Gauges(0, 0, 0, 0.0)),
        (Distortion.CLAIMS_CROWD, Gauges(CROWD, CROWD, 0, 1.0)),
    ],
)
def test_a_lie_changes_the_gauges_alone(distortion: Distortion, gauges: Gauges) -> None:
    """Every gauge that a window could be judged by, by reason too; counters stay."""
    page = told(PAGE.encode(), distortion).decode()
    assert Gauges.parse(page) == gauges
    assert f'reason="capacity"}} {gauges.waiting}.0' in page
    assert page.endswith("77.0\n")


def _in_front_of_an_engine(play: Callable[[DistortingProxy, str, aiohttp.ClientSession], Awaitable[None]]) -> None:
    """An engine whose metrics count the looks at them, behind the proxy."""
    looks = 0

    async def metrics(request: web.Request) -> web.Response:
        nonlocal looks
        looks += 1
        return web.Response(text=f"{request.query_string} {looks}")

    async def complete(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"X-Engine": "yes"})
        await answer.prepare(request)
        await answer.write(await request.read())
        await answer.write(b" answered")
        return answer

    async def main() -> None:
        engine = web.Application()
        engine.router.add_get("/metrics/", metrics)
        engine.router.add_post("/v1/completions", complete)
        runner = web.AppRunner(engine)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            async with aiohttp.ClientSession() as session, distorting(f"http://{host}:{port}") as (proxy, url):
                await play(proxy, url, session)
        finally:
            await runner.cleanup()

    asyncio.run(main())


def test_answers_pass_as_they_are() -> None:
    """Body, headers and status arrive, whatever becomes of the metrics."""

    async def play(proxy: DistortingProxy, url: str, session: aiohttp.ClientSession) -> None:
        for distortion in Distortion:
            proxy.distort(distortion)
            async with session.post(f"{url}/v1/completions", data=b"asked") as answer:
                assert (answer.status, answer.headers["X-Engine"], await answer.read()) == (
                    200,
                    "yes",
                    b"asked answered",
                )

    _in_front_of_an_engine(play)


def test_stale_metrics_are_the_last_honest_ones() -> None:
    """They stand still until the proxy is honest again; dead ones are an error."""

    async def play(proxy: DistortingProxy, url: str, session: aiohttp.ClientSession) -> None:
        async def look() -> str:
            async with session.get(f"{url}/metrics/?name[]=a") as answer:
                return await answer.text() if answer.status == 200 else str(answer.status)

        first = await look()
        assert first.endswith(" 1")
        proxy.distort(Distortion.STALE)
        assert [await look(), await look()] == [first, first]
        proxy.distort(Distortion.DEAD)
        assert await look() == "500"
        proxy.distort(Distortion.HONEST)
        assert (await look()).endswith(" 2")

    _in_front_of_an_engine(play)
