"""Small OpenAI-compatible servers with an engine of a few slots: fair, unfair, and broken in every way.

Who gets the next free slot is the server's `Order`; a slot makes one token every `TOKEN_SECONDS` of loop time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from evaluation.conformance.suite import Subject
from evaluation.conformance.tenants import read_cast

KEYS = "alice=a,bob=b"
SLOTS = 4
TOKEN_SECONDS = 0.02
MODELS = {"data": [{"id": "tiny"}]}
ERROR = {"error": {"message": "come again", "type": "rate_limit_error"}}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Order = Callable[["Slots"], int]


@dataclass(slots=True)
class Waiting:
    """A request without a slot."""

    key: str
    granted: "asyncio.Future[None]"


@dataclass(slots=True)
class Slots:
    """The engine's slots; `order` picks the next of the waiting."""

    order: Order
    waiting: list[Waiting] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        mine = Waiting(key, asyncio.get_running_loop().create_future())
        self.waiting.append(mine)
        self._grant()
        try:
            await mine.granted
        except asyncio.CancelledError:
            self._withdraw(mine)
            raise
        try:
            yield
        finally:
            self._release(key)

    def _grant(self) -> None:
        # A client that left has cancelled its future before its handler hears of it.
        self.waiting = [each for each in self.waiting if not each.granted.cancelled()]
        while self.waiting and sum(self.running.values()) < SLOTS:
            chosen = self.order(self)
            if chosen < 0:
                return
            mine = self.waiting.pop(chosen)
            self.running[mine.key] = self.running.get(mine.key, 0) + 1
            mine.granted.set_result(None)

    def _withdraw(self, mine: Waiting) -> None:
        if mine in self.waiting:
            self.waiting.remove(mine)
        elif mine.granted.done() and not mine.granted.cancelled():
            self._release(mine.key)

    def _release(self, key: str) -> None:
        self.running[key] -= 1
        self._grant()


def in_order(_slots: Slots) -> int:
    """First come, first served."""
    return 0


def least_served(slots: Slots) -> int:
    """The key that has got the fewest tokens so far: fair while everybody is backlogged, with stored credit."""
    keys = [waiting.key for waiting in slots.waiting]
    return keys.index(min(keys, key=lambda key: slots.served.get(key, 0)))


def alice_first(slots: Slots) -> int:
    """A favourite before all others."""
    return next((at for at, waiting in enumerate(slots.waiting) if waiting.key == "a"), 0)


def halves(slots: Slots) -> int:
    """Half of the slots for each key, used or not."""
    free = (at for at, waiting in enumerate(slots.waiting) if slots.running.get(waiting.key, 0) < SLOTS // 2)
    return next(free, -1)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server's streams look like, and which fields it takes."""

    running_usage: bool = True
    final_usage: bool = True
    refused_fields: tuple[str, ...] = ()
    refusal: int = 400
    surfaces: tuple[str, ...] = ("/v1/completions", "/v1/chat/completions")


def engine(order: Order, dialect: Dialect | None = None) -> Handler:
    """Streams tokens through slots."""
    speech = dialect or Dialect()
    slots = Slots(order)

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.path not in speech.surfaces:
            return web.json_response({"error": {"message": "not found"}}, status=404)
        if unknown := [name for name in speech.refused_fields if name in body]:
            return web.json_response({"error": {"message": f"unknown field {unknown[0]}"}}, status=speech.refusal)
        key = request.headers["Authorization"].removeprefix("Bearer ")
        async with slots.slot(key):
            answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await answer.prepare(request)
            async for event in _events(body, speech):
                slots.served[key] = slots.served.get(key, 0) + 1
                await answer.write(event)
        return answer

    return handle


async def _events(body: Mapping[str, object], speech: Dialect) -> AsyncIterator[bytes]:
    tokens = body["max_tokens"]
    assert isinstance(tokens, int)
    prompt = len(str(body.get("prompt") or body.get("messages")))
    for number in range(1, tokens + 1):
        await asyncio.sleep(TOKEN_SECONDS)
        usage = {"usage": _usage(prompt, number)} if speech.running_usage else {}
        yield _event({"choices": [{"index": 0, "text": "x"}], **usage})
    if speech.final_usage:
        yield _event({"choices": [], "usage": _usage(prompt, tokens)})
    yield b"data: [DONE]\n\n"


def _usage(prompt: int, output: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


def _event(document: Mapping[str, object]) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


async def refuses(_request: web.Request) -> web.StreamResponse:
    """Everybody, properly."""
    return web.json_response(ERROR, status=429, headers={"Retry-After": "1"})


async def hangs(request: web.Request) -> web.StreamResponse:
    """Takes every request and says nothing."""
    await request.read()
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody answers")


def cuts_after(answers: int) -> Handler:
    """So many whole answers, then every stream breaks off after its first token."""
    whole = engine(in_order)
    left = answers

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal left
        left -= 1
        if left >= 0:
            return await whole(request)
        await request.read()
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(_event({"choices": [{"index": 0, "text": "x"}]}))
        assert request.transport is not None
        request.transport.close()
        return answer

    return handle


async def knows_alice_alone(request: web.Request) -> web.StreamResponse:
    """Any other key is unknown."""
    if request.headers["Authorization"] != "Bearer a":
        return web.json_response({"error": {"message": "unknown key"}}, status=401)
    return await engine(in_order)(request)


async def not_streamed(_request: web.Request) -> web.StreamResponse:
    """A whole answer where a stream was asked for."""
    return web.json_response({"choices": [{"index": 0, "text": "x"}], "usage": _usage(1, 1)})


@asynccontextmanager
async def serving(handler: Handler, models: object = MODELS) -> AsyncIterator[Subject]:
    """A running server as the suite's subject."""

    async def listed(_request: web.Request) -> web.StreamResponse:
        return web.json_response(models)

    application = web.Application()
    application.router.add_get("/v1/models", listed)
    for path in Dialect().surfaces:
        application.router.add_post(path, handler)
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Subject([f"http://127.0.0.1:{runner.addresses[0][1]}"], read_cast(KEYS, ""))
    finally:
        await runner.cleanup()
