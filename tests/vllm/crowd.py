"""Clients that come and leave when a test says so, with a view of the gateway and of the engine behind it.

Tests wait for states of the two servers, never for a time; the bound of a wait only says when it is hopeless.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from conftest import ADMIN_KEY, Gateway, Tenant

from evaluation.bench.probe import Probe, probe_session

HOPELESS_SECONDS = 300
LOOK_SECONDS = 0.05
TRIALS = 5


class TooLate(Exception):
    """An answer was over before what was to be seen of it was seen: the machine stood still meanwhile."""


class Client:
    """One request under way; `first_byte` is set when its answer begins to arrive."""

    def __init__(self, session: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str]) -> None:
        self.first_byte = asyncio.Event()
        self.status: int | None = None
        self.answer = b""
        self.has_left = False
        self._task = asyncio.create_task(self._ask(session, url, body, headers))

    async def begun(self) -> None:
        """Wait for the first byte of the answer."""
        async with asyncio.timeout(HOPELESS_SECONDS):
            await self.first_byte.wait()

    @property
    def is_over(self) -> bool:
        """Whether the whole answer is here."""
        return self._task.done()

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call back as soon as the whole answer is here, or the client has left."""
        self._task.add_done_callback(lambda _: callback())

    async def leave(self) -> None:
        """Close the connection, whatever has arrived."""
        self.has_left = not self._task.done()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def stay(self) -> bytes:
        """Wait for the end of the answer and return it."""
        async with asyncio.timeout(HOPELESS_SECONDS):
            await self._task
        return self.answer

    async def _ask(self, session: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str]) -> None:
        async with session.post(url, json=body, headers=headers) as answer:
            self.status = answer.status
            async for received in answer.content.iter_any():
                self.first_byte.set()
                self.answer += received


class Crowd:
    """Clients of one gateway."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, probe: Probe) -> None:
        self.probe = probe
        self._gateway = gateway
        self._session = session
        self._clients: list[Client] = []

    def send(self, tenant: Tenant, path: str, body: Any) -> Client:
        """A new client with one request."""
        client = Client(self._session, f"{self._gateway.url}{path}", body, tenant.headers)
        self._clients.append(client)
        return client

    async def state(self) -> Any:
        """The gateway's state dump."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with self._session.get(f"{self._gateway.url}/debug/state", headers=headers) as answer:
            return await answer.json()

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Return as soon as `holds`; fail where it never does."""
        async with asyncio.timeout(HOPELESS_SECONDS):
            while not await holds():  # noqa: ASYNC110 -- another process's state has no event to wait for
                await asyncio.sleep(LOOK_SECONDS)

    async def catch(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Return as soon as `holds`, which lasts no longer than the answers under way; raises `TooLate` after them."""
        async with asyncio.timeout(HOPELESS_SECONDS):
            while not await holds():
                if any(client.is_over and not client.has_left for client in self._clients):
                    raise TooLate
                await asyncio.sleep(LOOK_SECONDS)

    async def is_empty(self) -> bool:
        """Whether neither gateway nor engine holds anything."""
        state, (engine,) = await self.state(), await self.probe.gauges()
        (pool,), (worker,) = state["pools"], state["workers"]
        held = (
            pool["queued"],
            pool["in_flight"],
            state["requests"]["total"],
            worker["sequences_in_flight"],
            worker["prefill_tokens_in_flight"],
            engine.running,
            engine.waiting,
        )
        return not any(held)

    async def leave(self) -> None:
        """Every client leaves."""
        for client in self._clients:
            await client.leave()


def in_time(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `scenario`, again where it was `TooLate`, but not for ever."""
    for trial in range(TRIALS):
        try:
            asyncio.run(scenario())
        except TooLate:
            if trial == TRIALS - 1:
                raise
        else:
            return


@asynccontextmanager
async def crowd(gateway: Gateway, vllm_url: str) -> AsyncIterator[Crowd]:
    """A crowd that finds both servers empty and must leave them so."""
    unbounded = aiohttp.TCPConnector(limit=0)
    async with probe_session() as looking, aiohttp.ClientSession(connector=unbounded) as asking:
        clients = Crowd(gateway, asking, Probe(looking, [vllm_url], gateway.url, ADMIN_KEY))
        await clients.until(clients.is_empty)
        try:
            yield clients
        finally:
            await clients.leave()
        await clients.until(clients.is_empty)
