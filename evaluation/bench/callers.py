"""Callers of every kind, drawn from a seed: most wait for their answer, some leave, read slowly or ask for nonsense."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any

import aiohttp

from evaluation.load.client import Endpoint
from evaluation.load.processes import ChildFailed

_Kind = Callable[[], Coroutine[Any, Any, str]]
_Answer = AbstractAsyncContextManager[aiohttp.ClientResponse]

LONGEST_SECONDS = 120.0  # no answer of this load takes so long: the caller gives up and says so
MAX_OPEN_CALLS = 1000
_SLOW_PAUSE_SECONDS = 0.05
_SLOW_BYTES = 512


class Callers:
    """Calls at a steady rate; `ended` counts how they ended, by the caller's own sight."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, seed: int) -> None:
        self._session = session
        self._endpoint = endpoint
        self._random = Random(seed)
        self._open: set[asyncio.Task[None]] = set()
        self.ended: Counter[str] = Counter()

    async def call(self, per_second: float, seconds: float) -> None:
        """Call at random moments, `per_second` on average, for `seconds`; then wait for the last answers."""
        loop = asyncio.get_running_loop()
        at, end = loop.time(), loop.time() + seconds
        while (at := at + self._random.expovariate(per_second)) < end:
            await asyncio.sleep(max(0.0, at - loop.time()))
            if len(self._open) >= MAX_OPEN_CALLS:
                raise ChildFailed(f"{MAX_OPEN_CALLS} calls are open at once: the gateway is slower than the load")
            task = asyncio.create_task(self._one(self._draw_kind()), name="call")
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        while self._open:
            await asyncio.wait(set(self._open))

    async def measure(self, at_once: int, seconds: float) -> float:
        """Whole answers a second where `at_once` callers ask again as soon as they have one."""
        loop = asyncio.get_running_loop()
        end, before = loop.time() + seconds, self.ended["whole"]

        async def ask_again() -> None:
            while loop.time() < end:
                await self._one(self._waiting)

        await asyncio.gather(*(ask_again() for _ in range(at_once)))
        return (self.ended["whole"] - before) / seconds

    def _draw_kind(self) -> _Kind:
        kinds = (self._waiting, self._unstreamed, self._leaving, self._impatient, self._slow, self._nonsense)
        (kind,) = self._random.choices(kinds, weights=(55, 15, 14, 6, 4, 6))
        return kind

    async def _one(self, kind: _Kind) -> None:
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                ending = await kind()
        except aiohttp.ClientError:
            ending = "broken"
        except TimeoutError:
            ending = "hung"
        self.ended[ending] += 1

    def _post(self, *, stream: bool, tokens: tuple[int, int] = (4, 40), model: str = "") -> _Answer:
        key = self._random.choice(list(self._endpoint.keys.values()))
        body = {
            "model": model or self._endpoint.model,
            "messages": [{"role": "user", "content": "x" * self._random.randint(1, 400)}],
            "max_tokens": self._random.randint(*tokens),
            "ignore_eos": True,
            "stream": stream,
        }
        headers = {"Authorization": f"Bearer {key}"}
        return self._session.post(f"{self._endpoint.url}/v1/chat/completions", json=body, headers=headers)

    async def _read(self, asked: _Answer, last: bytes) -> str:
        """Read an answer to its end, which has `last` in it."""
        async with asked as answer:
            body = await answer.read()
            return _ending(answer.status, is_whole=last in body)

    async def _waiting(self) -> str:
        return await self._read(self._post(stream=True), b"data: [DONE]")

    async def _unstreamed(self) -> str:
        return await self._read(self._post(stream=False), b'"choices"')

    async def _nonsense(self) -> str:
        return await self._read(self._post(stream=False, model="none"), b"")

    async def _leaving(self) -> str:
        """Take a few tokens of a long answer and close the connection."""
        async with self._post(stream=True, tokens=(100, 200)) as answer:
            for _ in range(self._random.randint(1, 20)):
                await answer.content.readany()
            answer.close()
        return "left"

    async def _impatient(self) -> str:
        """Give up before the answer can have come: while it waits, is sent, or has just begun."""
        try:
            async with asyncio.timeout(self._random.uniform(0, 0.05)):
                return await self._waiting()
        except TimeoutError:
            return "left"

    async def _slow(self) -> str:
        """Read a long answer a little at a time."""
        async with self._post(stream=True, tokens=(150, 200)) as answer:
            async for _ in answer.content.iter_chunked(_SLOW_BYTES):
                await asyncio.sleep(_SLOW_PAUSE_SECONDS)
            return _ending(answer.status, is_whole=True)


def _ending(status: int, *, is_whole: bool) -> str:
    if status == 200:
        return "whole" if is_whole else "broken"
    return f"refused with {status}"
