"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's dialect, served as vLLM serves it, over a chat.

The request becomes a chat request; the answer is told in content blocks. Errors that vLLM finds in the chat layer
have Anthropic's shape, those of a malformed body have vLLM's own.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from backend.engine.api.answers import Call, called
from backend.engine.api.chat import chat_prompt, chat_work
from backend.engine.api.errors import ApiError
from backend.engine.api.exchange import Event, Exchange
from backend.engine.api.frontend import FRONTEND
from backend.engine.api.requests import ChatRequest
from backend.engine.work import Delta, Generation


class Block(BaseModel):
    """One content block of a message."""

    type: str
    text: str | None = None
    id: str | None = None
    tool_use_id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    content: str | list[dict[str, Any]] | None = None


class Message(BaseModel):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(BaseModel):
    """A tool in Anthropic's shape."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any]


class ToolChoice(BaseModel):
    """`tool_choice`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class CountRequest(BaseModel):
    """`POST /v1/messages/count_tokens`."""

    model: Annotated[str, Field(min_length=1)]
    messages: list[Message]
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None


class MessagesRequest(CountRequest):
    """`POST /v1/messages`."""

    max_tokens: Annotated[int, Field(gt=0)]
    stop_sequences: Annotated[list[str], Field(max_length=32)] | None = None
    stream: bool | None = False
    temperature: float | None = None
    cache_salt: str | None = None


class MessagesError(ApiError):
    """An error in Anthropic's shape."""

    def body(self) -> dict[str, Any]:
        """`{"type": "error", "error": {"type", "message"}}`."""
        return {"type": "error", "error": {"type": self.kind, "message": self.message}}


async def messages(request: web.Request) -> web.StreamResponse:
    """Answer one message."""
    frontend = request.app[FRONTEND]
    async with frontend.exchange(request) as exchange:
        asked = await frontend.read(request, MessagesRequest)
        chat = as_chat(asked)
        try:
            model = frontend.check_model(asked.model)
            frontend.check_room(1)
            work = chat_work(chat, exchange)
            frontend.check_work(work)
            async with frontend.generation(work, exchange) as generation:
                reply = Reply(exchange, generation, model, called(chat))
                if asked.stream:
                    return await exchange.stream(reply.events(), _error_event)
                document = await reply.document()
                return await exchange.answer(document, document["usage"]["output_tokens"])
        except ApiError as error:
            raise MessagesError(error.status, error.message, error.kind) from error


async def count_tokens(request: web.Request) -> web.Response:
    """Tokens of the rendered prompt."""
    frontend = request.app[FRONTEND]
    asked = await frontend.read(request, CountRequest)
    try:
        frontend.check_model(asked.model)
    except ApiError as error:
        raise MessagesError(error.status, error.message, error.kind) from error
    tokens = len(chat_prompt(as_chat(asked)))
    document = {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}
    return web.Response(body=orjson.dumps(document), content_type="application/json")


def as_chat(asked: CountRequest) -> ChatRequest:
    """The chat request that means the same."""
    chat: dict[str, Any] = {"model": asked.model, "messages": _chat_messages(asked)}
    if asked.tools:
        chat["tools"] = [_chat_tool(tool) for tool in asked.tools]
        chat["tool_choice"] = _chat_choice(asked.tool_choice)
    if isinstance(asked, MessagesRequest):
        chat["max_tokens"] = asked.max_tokens
        chat["stop"] = asked.stop_sequences
        chat["stream"] = asked.stream
        chat["cache_salt"] = asked.cache_salt
    return ChatRequest.model_validate(chat)


def _chat_messages(asked: CountRequest) -> list[dict[str, Any]]:
    system = asked.system
    if isinstance(system, list):
        system = "".join(block.text or "" for block in system)
    turns: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in asked.messages:
        turns += _turns(message)
    return turns


def _turns(message: Message) -> list[dict[str, Any]]:
    """A message as chat turns: results of tools are turns of their own, calls belong to the text beside them."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    results = [
        {"role": "tool", "tool_call_id": block.tool_use_id, "content": _result_text(block)}
        for block in message.content
        if block.type == "tool_result"
    ]
    texts = [{"type": "text", "text": block.text} for block in message.content if block.type == "text"]
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.input or {}}}
        for block in message.content
        if block.type == "tool_use"
    ]
    turn: dict[str, Any] = {"role": message.role, "content": texts}
    if calls:
        turn["tool_calls"] = calls
    return [*results, turn] if texts or calls or not results else results


def _result_text(block: Block) -> str:
    if isinstance(block.content, list):
        return "\n".join(part.get("text", "") for part in block.content)
    return block.content or ""


def _chat_tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


def _chat_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return "auto"
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.type == "any" else choice.type


def _named(document: dict[str, Any]) -> bytes:
    """One event under the name of its type."""
    kind: str = document["type"]
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"


def _error_event(error: ApiError) -> bytes:
    return _named({"type": "error", "error": {"type": "internal_error", "message": error.message}})


@dataclass(slots=True)
class Reply:
    """One message being answered."""

    exchange: Exchange
    generation: Generation
    model: str
    call: Call | None

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        usage = self.exchange.usage(self.generation.work.prompt_tokens, output_tokens)
        return {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}

    def _final_usage(self, output_tokens: int) -> dict[str, Any]:
        """Anthropic counts what the cache held, and what it took in, apart from the input."""
        usage = self._usage(output_tokens)
        created, read = self.generation.created_cache_tokens, self.generation.cached_tokens
        usage["input_tokens"] -= created + read
        return {**usage, "cache_creation_input_tokens": created, "cache_read_input_tokens": read}

    def _head(self) -> dict[str, Any]:
        return {"id": self.generation.work.request_id, "type": "message", "role": "assistant"}

    async def events(self) -> AsyncIterator[Event]:
        """The stream: start, one content block, the end with its usage."""
        tokens = 0
        is_open = False
        async for delta in self.generation.deltas():
            if tokens == 0:
                yield Event(_named({"type": "message_start", "message": self._start()}))
            opens, text = self._shown(delta, tokens, is_open)
            tokens += len(delta.token_ids)
            if opens:
                is_open = True
                yield Event(_named(self._block_start()))
            if text:
                yield Event(_named(self._block_delta(text)), len(delta.token_ids))
            last = delta
        if is_open:
            yield Event(_named({"type": "content_block_stop", "index": 0}))
        yield Event(_named(self._end(last, tokens)))
        yield Event(_named({"type": "message_stop"}))

    def _start(self) -> dict[str, Any]:
        body = {**self._head(), "content": [], "model": self.model, "stop_reason": None, "stop_sequence": None}
        return {**body, "usage": self._usage(0)}

    def _shown(self, delta: Delta, sent: int, is_open: bool) -> tuple[bool, str]:
        """Whether the content block opens with this delta, and what goes into it."""
        if self.call is None:
            return bool(delta.text) and not is_open, delta.text
        return self.call.shown(sent, sent + len(delta.token_ids))

    def _block_start(self) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "text", "text": ""}
        if self.call is not None:
            block = {"type": "tool_use", "id": self._call_id(), "name": self.call.name, "input": {}}
        return {"type": "content_block_start", "content_block": block, "index": 0}

    def _block_delta(self, text: str) -> dict[str, Any]:
        part = {"type": "text_delta", "text": text}
        if self.call is not None:
            part = {"type": "input_json_delta", "partial_json": text}
        return {"type": "content_block_delta", "delta": part, "index": 0}

    def _end(self, last: Delta, tokens: int) -> dict[str, Any]:
        stop_reason, stop_sequence = self._stop(last)
        event: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": stop_sequence},
        }
        return event if self.exchange.hides_usage else {**event, "usage": self._final_usage(tokens)}

    def _call_id(self) -> str:
        return f"chatcmpl-tool-{self.exchange.base_id}-0"

    def _stop(self, delta: Delta) -> tuple[str, str | None]:
        if delta.finish_reason == "length":
            return "max_tokens", None
        if self.call is not None:
            return "tool_use", None
        return ("end_turn", None) if delta.stop_reason is None else ("stop_sequence", delta.stop_reason)

    async def document(self) -> dict[str, Any]:
        """The whole answer; what is None is left out."""
        (delta,) = [delta async for delta in self.generation.deltas()]
        stop_reason, stop_sequence = self._stop(delta)
        block: dict[str, Any] = {"type": "text", "text": delta.text}
        if self.call is not None and delta.finish_reason == "stop":
            block = {"type": "tool_use", "id": self._call_id(), "name": self.call.name}
            block["input"] = orjson.loads(self.call.arguments)
        body = {**self._head(), "content": [block], "model": self.model, "stop_reason": stop_reason}
        if stop_sequence is not None:
            body["stop_sequence"] = stop_sequence
        return {**body, "usage": self._final_usage(len(delta.token_ids))}
