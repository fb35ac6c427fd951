"""`POST /v1/responses`, stateless: nothing is stored, nothing runs in the background, no tool runs in the server.

The request becomes a chat request; the answer is one output item, a message or a function call. In a stream each
event carries its number; usage comes with the last one only.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from backend.engine.api.answers import Call, called
from backend.engine.api.chat import chat_work
from backend.engine.api.errors import ApiError
from backend.engine.api.exchange import Event, Exchange
from backend.engine.api.frontend import FRONTEND
from backend.engine.api.requests import ChatRequest, Int64
from backend.engine.work import Delta, Generation


class ResponsesRequest(BaseModel):
    """The body; fields that only come back in the answer are kept as they are."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    input: str | list[dict[str, Any]]
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = False
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[dict[str, Any]] = Field(default_factory=list)
    tool_choice: Any = "auto"
    text: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    parallel_tool_calls: bool | None = True
    background: bool | None = False
    previous_response_id: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] = "auto"
    truncation: Literal["auto", "disabled"] | None = "disabled"
    user: str | None = None
    request_id: str | None = None
    priority: Int64 = 0
    cache_salt: str | None = None
    ignore_eos: bool = False


async def responses(request: web.Request) -> web.StreamResponse:
    """Answer one response request."""
    frontend = request.app[FRONTEND]
    async with frontend.exchange(request) as exchange:
        asked = await frontend.read(request, ResponsesRequest)
        frontend.check_model(asked.model)
        if asked.previous_response_id or asked.background:
            raise ApiError(400, "Responses are not stored by this engine.", param="previous_response_id")
        frontend.check_room(1)
        chat = as_chat(asked)
        work = chat_work(chat, exchange, request_id=asked.request_id or f"resp_{exchange.base_id}")
        frontend.check_work(work, "max_output_tokens")
        async with frontend.generation(work, exchange) as generation:
            reply = Reply(asked, exchange, generation, called(chat))
            if asked.stream:
                return await exchange.stream(reply.events(), reply.error_event)
            document = await reply.document()
            return await exchange.answer(document, document["usage"]["output_tokens"])


def as_chat(asked: ResponsesRequest) -> ChatRequest:
    """The chat request that means the same."""
    turns: list[dict[str, Any]] = []
    if asked.instructions:
        turns.append({"role": "system", "content": asked.instructions})
    items = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input
    chat: dict[str, Any] = {
        "model": asked.model,
        "messages": [*turns, *(_turn(item) for item in items)],
        "max_tokens": asked.max_output_tokens,
        "stream": asked.stream,
        "priority": asked.priority,
        "cache_salt": asked.cache_salt,
        "ignore_eos": asked.ignore_eos,
    }
    functions = [_chat_tool(tool) for tool in asked.tools if tool.get("type") == "function"]
    if functions:
        choice = asked.tool_choice
        named = isinstance(choice, dict)
        chat["tools"] = functions
        chat["tool_choice"] = {"function": {"name": choice.get("name")}} if named else choice
    form = (asked.text or {}).get("format") or {}
    if form.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": form}
    elif form.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    return ChatRequest.model_validate(chat)


def _turn(item: dict[str, Any]) -> dict[str, Any]:
    match item.get("type", "message"):
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case "function_call_output":
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
        case _:
            return {"role": item.get("role", "user"), "content": item.get("content")}


def _chat_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {key: tool.get(key) for key in ("name", "description", "parameters")}
    return {"type": "function", "function": function}


@dataclass(slots=True)
class Reply:
    """One response being made."""

    asked: ResponsesRequest
    exchange: Exchange
    generation: Generation
    call: Call | None
    _sequence_number: int = field(default=0)

    @property
    def _item_id(self) -> str:
        return f"{'msg' if self.call is None else 'fc'}_{self.exchange.base_id}"

    async def events(self) -> AsyncIterator[Event]:
        """The stream."""
        start = self._response([], "in_progress", None)
        yield self._event("response.created", {"response": start})
        yield self._event("response.in_progress", {"response": start})
        text, tokens, is_cut, is_open = "", 0, False, False
        async for delta in self.generation.deltas():
            opens, shown = self._shown(delta, tokens, is_open)
            if opens:
                is_open = True
                for event in self._open():
                    yield event
            tokens += len(delta.token_ids)
            text += shown
            is_cut = delta.finish_reason == "length"
            if is_open and (shown or self.call is None):
                yield self._delta(shown, len(delta.token_ids))
        for event in self._close(text) if is_open else ():
            yield event
        yield self._event("response.completed", {"response": self._finished(text, tokens, is_cut)})

    def _event(self, kind: str, fields: dict[str, Any], tokens: int = 0, last: dict[str, Any] | None = None) -> Event:
        """One named event; keys in alphabetical order, then the type and `last`, as the SDK's models have them."""
        numbered = {**fields, "sequence_number": self._sequence_number}
        self._sequence_number += 1
        document = {**dict(sorted(numbered.items())), "type": kind, **(last or {})}
        return Event(b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n", tokens)

    def _shown(self, delta: Delta, sent: int, is_open: bool) -> tuple[bool, str]:
        """Whether the output item opens with this delta, and what goes into it."""
        if self.call is None:
            return not is_open, delta.text
        return self.call.shown(sent, sent + len(delta.token_ids))

    def error_event(self, error: ApiError) -> bytes:
        """How a stream that fails ends."""
        return self._event("error", {"code": str(error.status), "message": error.message, "param": None}).data

    def _open(self) -> list[Event]:
        if self.call is not None:
            return [self._item_event("response.output_item.added", self._call("", "in_progress"))]
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        return [
            self._item_event("response.output_item.added", self._message([], "in_progress")),
            self._event("response.content_part.added", {**self._place(), "part": part}),
        ]

    def _place(self) -> dict[str, Any]:
        return {"content_index": 0, "item_id": self._item_id, "output_index": 0}

    def _item_event(self, kind: str, item: dict[str, Any]) -> Event:
        return self._event(kind, {"item": item, "output_index": 0})

    def _delta(self, text: str, tokens: int) -> Event:
        if self.call is not None:
            place = {"item_id": self._item_id, "output_index": 0}
            return self._event("response.function_call_arguments.delta", {**place, "delta": text}, tokens)
        return self._event("response.output_text.delta", {**self._place(), "delta": text, "logprobs": []}, tokens)

    def _close(self, text: str) -> list[Event]:
        if self.call is not None:
            fields = {"arguments": text, "item_id": self._item_id, "output_index": 0}
            return [
                self._event("response.function_call_arguments.done", fields, last={"name": self.call.name}),
                self._item_event("response.output_item.done", self._call(text, "completed")),
            ]
        part = _text_part(text)
        return [
            self._event("response.output_text.done", {**self._place(), "logprobs": [], "text": text}),
            self._event("response.content_part.done", {**self._place(), "part": part}),
            self._item_event("response.output_item.done", self._message([part] if text else [], "completed")),
        ]

    def _message(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        head = {"id": self._item_id, "content": content, "role": "assistant", "status": status}
        return {**head, "type": "message", "phase": None}

    def _call(self, arguments: str, status: str) -> dict[str, Any]:
        assert self.call is not None
        return {
            "arguments": arguments,
            "call_id": f"chatcmpl-tool-{self.exchange.base_id}",
            "name": self.call.name,
            "type": "function_call",
            "id": self._item_id,
            "async": None,
            "caller": None,
            "namespace": None,
            "status": status,
        }

    async def document(self) -> dict[str, Any]:
        """The whole answer."""
        (delta,) = [delta async for delta in self.generation.deltas()]
        tokens = len(delta.token_ids)
        _, text = self._shown(delta, 0, is_open=False)
        return self._finished(text, tokens, delta.finish_reason == "length")

    def _finished(self, text: str, tokens: int, is_cut: bool) -> dict[str, Any]:
        status = "incomplete" if is_cut else "completed"
        if self.call is None:
            item = self._message([_text_part(text)] if text else [], "completed")
        else:
            item = self._call(text, "completed")
        usage = None if self.exchange.hides_usage else self._usage(tokens)
        return self._response([item], status, usage)

    def _usage(self, tokens: int) -> dict[str, Any]:
        usage = self.exchange.usage(self.generation.work.prompt_tokens, tokens)
        return {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": self.generation.cached_tokens,
                "cache_write_tokens": self.generation.created_cache_tokens,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {
                "reasoning_tokens": 0,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": usage["total_tokens"],
        }

    def _response(self, output: list[dict[str, Any]], status: str, usage: dict[str, Any] | None) -> dict[str, Any]:
        asked = self.asked
        room = self.exchange.engine.config.capacity.max_model_len - self.generation.work.prompt_tokens
        return {
            "id": self.generation.work.request_id,
            "created_at": self.exchange.created,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": asked.instructions,
            "metadata": asked.metadata,
            "model": asked.model or self.exchange.engine.config.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "tool_choice": asked.tool_choice if asked.tools else "none",
            "tools": [_told_tool(tool) for tool in asked.tools],
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "background": False,
            "max_output_tokens": min(asked.max_output_tokens or room, room),
            "max_tool_calls": None,
            "previous_response_id": None,
            "prompt": None,
            "reasoning": None,
            "service_tier": asked.service_tier,
            "status": status,
            "text": asked.text,
            "top_logprobs": None,
            "truncation": asked.truncation,
            "usage": usage,
            "user": asked.user,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
        }


def _told_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A function tool with every field that the SDK's model has."""
    if tool.get("type") != "function":
        return tool
    names = ("name", "parameters", "strict", "type", "allowed_callers", "async", "defer_loading", "description")
    return {name: tool.get(name) for name in (*names, "output_schema")}


def _text_part(text: str) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": None}
