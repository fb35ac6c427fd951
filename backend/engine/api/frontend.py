"""The way into a generating endpoint: body, model, room, prompt length; then the exchange and the engine's answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from itertools import count
from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from backend.engine.api.errors import ApiError, bad_parameter, invalid_request, not_json, queue_full, unknown_model
from backend.engine.api.exchange import Exchange
from backend.engine.faults import Misfortune
from backend.engine.loop import Engine, QueueOverflowError
from backend.engine.work import Generation, Work

_Body = TypeVar("_Body", bound=BaseModel)
_MEDIA_TYPE = "Unsupported Media Type: Only 'application/json' is allowed"


class Frontend:
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
        body = await request.read()
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise not_json(body) from error
        if not isinstance(document, dict):
            raise not_json(body)
        try:
            return model.model_validate(document)
        except ValidationError as error:
            raise invalid_request(error) from error

    def check_model(self, asked: str | None) -> str:
        """The model or adapter that is served, none asked for meaning the model; raises ApiError for others."""
        config = self.engine.config
        if asked and asked not in (config.model, *config.adapters):
            raise unknown_model(asked, ", ".join((config.model, *config.adapters)))
        return asked or config.model

    def check_room(self, sequences: int) -> None:
        """Refuse at once what `--max-num-queued-reqs` does not let in; vLLM looks before it renders."""
        if not self.engine.has_room(sequences):
            self.engine.refuse()
            raise queue_full()

    def check_work(self, work: Work, param: str = "max_tokens") -> None:
        """Refuse prompts that leave no room for an answer, and limits that cannot be."""
        context = self.engine.config.capacity.max_model_len
        limit = work.max_tokens
        if limit is not None and limit > context:
            message = (
                f"{param}={limit} cannot be greater than max_model_len={context}. Please request fewer output tokens."
            )
            raise bad_parameter(message, param, limit)
        longest = max(len(prompt) for prompt in work.prompts)
        if longest > context:
            found = f"at least {longest}" if longest == context + 1 else str(longest)
            message = (
                f"This model's maximum context length is {context} tokens. However, your prompt contains {found} "
                "input tokens, which exceeds this limit even without any output tokens. "
                "Please reduce the length of the input prompt."
            )
            raise bad_parameter(message, "input_tokens", longest)
        granted = context - longest if limit is None else min(limit, context - longest)
        if granted < 1:
            raise bad_parameter(f"max_tokens must be at least 1, got {granted}.", "max_tokens", granted)
        if work.n < 1:
            raise ApiError(400, f"n must be at least 1, got {work.n}.")
        if work.min_tokens > granted:
            message = f"min_tokens must be less than or equal to max_tokens={granted}, got {work.min_tokens}."
            raise ApiError(400, message)

    @asynccontextmanager
    async def exchange(self, request: web.Request) -> AsyncIterator[Exchange]:
        """An exchange, counted as load while it lasts, under the next fault of the script."""
        self.in_flight += 1
        try:
            fault = self.misfortune.strike(request.path, await request.read())
            yield Exchange(request, self.engine, fault, self.fresh_id())
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


FRONTEND = web.AppKey("frontend", Frontend)
