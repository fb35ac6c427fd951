"""The way into a generating endpoint: body, model, room, prompt length; then the exchange and the engine's answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from itertools import count
from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from backend.engine.api.errors import ApiError, invalid_request, not_json, queue_full, unknown_model
from backend.engine.api.exchange import Exchange
from backend.engine.faults import Misfortune
from backend.engine.loop import Engine, QueueOverflowError
from backend.engine.work import Generation, Work

_Body = TypeVar("_Body", bound=BaseModel)
_MEDIA_TYPE = "Unsupported Media Type: Only 'application/json' is allowed"


class Desk:
    """Takes requests in for one engine; holds what requests share: the engine, the faults, the count of ids."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.misfortune = Misfortune(engine.config.faults)
        self.in_flight = 0
        self._numbers = count()

    def fresh_id(self) -> str:
        """An id in the shape of vLLM's random ones, from this engine's seed and start."""
        config = self.engine.config
        name = f"{config.seed}:{config.epoch_seconds}:{next(self._numbers)}"
        return blake2b(name.encode(), digest_size=16).hexdigest()

    async def read(self, request: web.Request, model: type[_Body]) -> _Body:
        """The body as `model`; raises ApiError."""
        if request.content_type != "application/json":
            raise ApiError(400, f"1 validation error:\n  {_MEDIA_TYPE}", "Bad Request")
        try:
            document = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            raise not_json(str(error)) from error
        try:
            return model.model_validate(document)
        except ValidationError as error:
            raise invalid_request(error) from error

    def check_model(self, asked: str | None) -> None:
        """Refuse a model that is not served; none at all means ours."""
        if asked and asked != self.engine.config.model:
            raise unknown_model(asked, self.engine.config.model)

    def check_room(self, sequences: int) -> None:
        """Refuse at once what `--max-num-queued-reqs` does not let in; vLLM looks before it renders."""
        if not self.engine.has_room(sequences):
            self.engine.refuse()
            raise queue_full()

    def check_length(self, prompt: bytes, max_tokens: int | None, param: str = "max_tokens") -> None:
        """Refuse a prompt that leaves no room for an answer, and an answer longer than the context."""
        context = self.engine.config.capacity.max_model_len
        if max_tokens is not None and max_tokens > context:
            raise ApiError(
                400,
                f"{param}={max_tokens} cannot be greater than max_model_len={context}. "
                "Please request fewer output tokens.",
                param=param,
            )
        if len(prompt) >= context:
            raise ApiError(
                400,
                f"This model's maximum context length is {context} tokens. However, your prompt contains "
                f"{len(prompt)} input tokens, which exceeds this limit even without any output tokens. "
                "Please reduce the length of the input prompt.",
                param="input_tokens",
            )

    @asynccontextmanager
    async def exchange(self, request: web.Request) -> AsyncIterator[Exchange]:
        """An exchange, counted as load while it lasts, under the next fault of the script."""
        self.in_flight += 1
        try:
            yield Exchange(request, self.engine, self.misfortune.strike(request.path), self.fresh_id())
        finally:
            self.in_flight -= 1

    @asynccontextmanager
    async def generation(self, work: Work, exchange: Exchange) -> AsyncIterator[Generation]:
        """The work in the engine; whatever is left of it on the way out is aborted."""
        await exchange.before_work()
        try:
            generation = self.engine.submit(work, exchange.arrived_at)
        except QueueOverflowError:
            raise queue_full() from None
        try:
            yield generation
        finally:
            self.engine.abort(generation)


DESK = web.AppKey("desk", Desk)
