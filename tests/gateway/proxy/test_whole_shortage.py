"""A gateway out of descriptors, ports or memory blames no worker: it takes none for dead, stalled or unseen."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import CPU_TINY, EngineWorker, ScriptedWorker

from gateway.config import Timeouts, Window
from gateway.endpoints.failures import GatewayShort, WorkerUnreachable
from gateway.endpoints.names import Host
from gateway.endpoints.upstream import WorkerPort, fetch
from gateway.events import WindowDegraded, WorkerStalled
from gateway.watch.health import PROBE_SECONDS
from gateway.watch.models import PROBES_BETWEEN, ask_models
from gateway.workers import Evidence

OURS = [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM]
PLAN = Plan(window=Window(), pool={"timeouts": Timeouts(connect_seconds=2, first_byte_seconds=120, stall_seconds=30)})
LONG_SECONDS = 40  # more than any patience with a worker that is seen


@contextmanager
def connecting(meet: Callable[[str, int], int]) -> Iterator[None]:
    """Decide what a connection to a host and port meets: an error of the system, or 0 for success."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def connect_or_fail(wire: Any, address: Any) -> None:
        code = meet(*address[:2])
        if code:
            raise OSError(code, os.strerror(code))
        await connect(wire, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "sock_connect", connect_or_fail)
        yield


@contextmanager
def shortage(scene: Stage, code: int) -> Iterator[None]:
    """Let no new connection to the first worker succeed, for requests or for what the gateway asks itself."""
    endpoint = scene.endpoints["tiny/w0"]
    endpoint.control.retire()  # its connections would serve on for as long as they are used
    with connecting(lambda _, port: code if port == endpoint.control.address.port else 0):
        yield


@virtual_time
@pytest.mark.parametrize("code", OURS, ids=errno.errorcode.get)
async def test_a_shortage_says_nothing_of_the_worker(code: int) -> None:
    """Probes and readings are skipped, running requests go on, and new ones get the gateway's own error."""
    worker = EngineWorker(CPU_TINY)
    async with stage(worker, plan=PLAN) as scene:
        asking = [scene.asking(chat(1900)) for _ in range(4)]
        await asyncio.sleep(1)
        with shortage(scene, code):
            pages = len(worker.pages)
            await asyncio.sleep(8)
            assert len(worker.pages) == pages
            for path, body in ((None, chat(5)), ("/tokenize", {"model": "tiny", "prompt": "hi"})):
                answer = await (scene.ask(body) if path is None else scene.ask(body, path=path))
                assert (answer.status, answer.json["error"]["code"]) == (503, "gateway_exhausted")
        await asyncio.sleep(1)
        assert len(worker.pages) > pages
        assert all(answer.is_done for answer in await asyncio.gather(*asking))
        assert (await scene.ask(chat(5))).is_done
        assert [change.state for change in scene.changes] == ["serving"]
        assert not any(isinstance(event, WindowDegraded | WorkerStalled) for event in scene.events)


@virtual_time
async def test_steps_that_the_gateway_cannot_see_may_be_made() -> None:
    """A long prompt is read while the gateway is short: that its engine's metrics stand still is no stall."""
    cost = replace(CPU_TINY.profile.cost, prefill_token_seconds=0.06)
    capacity = replace(CPU_TINY.capacity, max_num_batched_tokens=64)
    slow = replace(CPU_TINY, profile=replace(CPU_TINY.profile, cost=cost), capacity=capacity)
    async with stage(EngineWorker(slow), plan=PLAN) as scene:
        asking = scene.asking(chat(3, prompt="x" * 1000, stream=False))
        await asyncio.sleep(5)
        with shortage(scene, errno.EMFILE):
            await asyncio.sleep(LONG_SECONDS)
        assert (await asking).status == 200
        assert not any(isinstance(event, WorkerStalled) for event in scene.events)
        assert [change.state for change in scene.changes] == ["serving"]


@virtual_time
async def test_a_list_of_models_that_the_gateway_cannot_ask_for_says_nothing() -> None:
    """The worker's health is good each time, and there is no second connection for its models: it serves on."""

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    worker = ScriptedWorker(respond)
    connected_at = -1.0

    def second_is_short(*_: object) -> int:
        nonlocal connected_at
        last, connected_at = connected_at, asyncio.get_running_loop().time()
        return errno.EMFILE if last == connected_at else 0

    async with stage(worker) as scene:
        endpoint = scene.endpoints["tiny/w0"]
        await asyncio.sleep(PROBE_SECONDS / 2)
        with connecting(second_is_short):
            asked = len(worker.pages)
            await asyncio.sleep((PROBES_BETWEEN + 6) * PROBE_SECONDS)
            assert all(page.startswith(b"GET /health ") for page in worker.pages[asked:])
            assert endpoint.probes_to_models == 0, "it is asked each time"
        with connecting(lambda *_: errno.EMFILE):
            assert (await ask_models(endpoint))[0] is Evidence.SHORT
        with connecting(lambda *_: errno.ECONNREFUSED):
            assert (await ask_models(endpoint))[0] is Evidence.UNREACHABLE
        assert [change.state for change in scene.changes] == ["serving"]


@virtual_time
@pytest.mark.parametrize(
    ("codes", "is_ours"),
    [
        ((errno.EADDRNOTAVAIL, errno.ECONNREFUSED), False),
        ((errno.ECONNREFUSED, errno.EADDRNOTAVAIL), False),
        ((errno.ECONNREFUSED, errno.ECONNREFUSED), False),
        ((errno.EADDRNOTAVAIL, errno.EADDRNOTAVAIL), True),
    ],
)
async def test_of_several_addresses_one_that_answers_says_what_the_worker_is(
    codes: tuple[int, int], is_ours: bool
) -> None:
    """A machine without IPv6 has no way to `::1`, so the worker is dead if 127.0.0.1 refuses."""
    met = dict(zip(("127.0.0.1", "::1"), codes, strict=True))

    async def look_up(_: str) -> list[str]:
        return list(met)

    port = WorkerPort("http://engine:1", host=Host("engine", look_up))
    with connecting(lambda host, _: met[host]), pytest.raises(WorkerUnreachable) as failure:
        await fetch(port, b"GET / HTTP/1.1\r\n\r\n", seconds=1, max_bytes=1)
    assert isinstance(failure.value, GatewayShort) is is_ours
    port.close()
