"""One request on the wire: id, stamp, usage, the answer as JSON or as a stream, and the fault that strikes it.

Streams are written one event a chunk, as uvicorn writes what vLLM yields. Faults happen here, on the way out, so that
the dialects stay honest; only FREEZE and EXIT reach further. A client that leaves cancels the handler or breaks its
next write, whichever comes first; either way the handler's `finally` aborts the generation.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from backend.engine.api.errors import ApiError, phrase_error
from backend.engine.faults import Fault, FaultKind
from backend.engine.loop import Engine
from backend.engine.work import EngineDeadError

DONE = b"data: [DONE]\n\n"
ENGINE_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
FINGERPRINT = "vllm-0.32.0-embedded"

ErrorEvents = Callable[[ApiError], bytes]


@dataclass(frozen=True, slots=True)
class Event:
    """Bytes of one event and the tokens that it brings."""

    data: bytes
    tokens: int = 0


def sse(document: dict[str, Any]) -> bytes:
    """One unnamed event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def openai_error_events(error: ApiError) -> bytes:
    """How chat and text completions end a stream that fails."""
    return error.event() + DONE


class Exchange:
    """One HTTP request that generates."""

    def __init__(self, request: web.Request, engine: Engine, fault: Fault | None, fresh_id: str) -> None:
        self.request = request
        self.engine = engine
        self.base_id = request.headers.get("X-Request-Id", fresh_id)
        self.arrived_at = asyncio.get_running_loop().time()
        self.created = int(engine.config.epoch_seconds + self.arrived_at)
        self._fault = fault
        self._fault_is_due = fault is not None

    def priority(self, asked: int) -> int:
        """vLLM lets the header `X-Vllm-Priority` override the body."""
        try:
            return int(self.request.headers["X-Vllm-Priority"])
        except (KeyError, ValueError):
            return asked

    def usage(self, prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        """`usage` in vLLM's order, without details; wrong where the fault says so."""
        if self._suffers(FaultKind.WRONG_USAGE):
            assert self._fault is not None
            completion_tokens = round(completion_tokens * self._fault.usage_factor)
        return {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
        }

    @property
    def hides_usage(self) -> bool:
        """True under NO_USAGE."""
        return self._suffers(FaultKind.NO_USAGE)

    def _suffers(self, kind: FaultKind) -> bool:
        return self._fault is not None and self._fault.kind is kind

    async def before_work(self) -> None:
        """Faults that strike before the engine sees the request."""
        fault = self._fault
        if fault is None:
            return
        if fault.kind is FaultKind.REFUSE:
            raise phrase_error(fault.status, "refused by the fault script")
        if fault.kind is FaultKind.STALL_FIRST_BYTE:
            await _silence(fault.seconds)

    async def answer(self, document: dict[str, Any], tokens: int) -> web.StreamResponse:
        """A whole JSON answer that brought `tokens` tokens."""
        if self.hides_usage:
            document.pop("usage", None)
        body = orjson.dumps(document)
        cut = await self._strike(tokens)
        if cut is None:
            return web.Response(body=body, content_type="application/json")
        if cut is FaultKind.ERROR_EVENT:
            raise _engine_dead()
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
        await response.prepare(self.request)
        await response.write(body[: len(body) // 2])
        self._hang_up()
        return response

    async def stream(
        self, events: AsyncIterator[Event], error_events: ErrorEvents = openai_error_events
    ) -> web.StreamResponse:
        """A stream of events, to its end, to the fault's or to the client's."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        # The connection's end may meet a write before it cancels the handler.
        with suppress(ConnectionResetError):
            await response.prepare(self.request)
            await self._write(response, events, error_events)
        return response

    async def _write(
        self, response: web.StreamResponse, events: AsyncIterator[Event], error_events: ErrorEvents
    ) -> None:
        tokens = 0
        try:
            async for event in events:
                tokens += event.tokens
                match await self._strike(tokens):
                    case FaultKind.CUT:
                        self._hang_up()
                        return
                    case FaultKind.CUT_EVENT:
                        await response.write(event.data[: len(event.data) // 2])
                        self._hang_up()
                        return
                    case FaultKind.ERROR_EVENT:
                        await response.write(error_events(_engine_dead()))
                        break
                    case _:
                        await response.write(event.data)
        except EngineDeadError:
            await response.write(error_events(_engine_dead()))
        await response.write_eof()

    async def _strike(self, tokens: int) -> FaultKind | None:
        """Let a fault that waits for `tokens` happen; returns the kinds that the caller carries out."""
        fault = self._fault
        if not self._fault_is_due or fault is None or tokens < fault.after_tokens:
            return None
        self._fault_is_due = False
        match fault.kind:
            case FaultKind.STALL:
                await _silence(fault.seconds)
            case FaultKind.FREEZE:
                self.engine.freeze()
                if fault.seconds is not None:
                    asyncio.get_running_loop().call_later(fault.seconds, self.engine.thaw)
            case FaultKind.EXIT:
                self.engine.exit()
                await _silence(None)
            case FaultKind.CUT | FaultKind.CUT_EVENT | FaultKind.ERROR_EVENT:
                return fault.kind
            case _:
                pass
        return None

    def _hang_up(self) -> None:
        """End the connection after what was written, without the end of the message."""
        if self.request.transport is not None:
            self.request.transport.close()


async def _silence(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


def _engine_dead() -> ApiError:
    return ApiError(500, ENGINE_DEAD, "InternalServerError")
