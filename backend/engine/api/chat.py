"""`POST /v1/chat/completions`.

Stream: for each choice a chunk with the role, then its deltas. What it shares with text completions is in
`text_answer`.
"""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from backend.engine.api.answers import called, structured_answer
from backend.engine.api.exchange import Event, Exchange, sse
from backend.engine.api.frontend import FRONTEND
from backend.engine.api.logprobs import chat_logprobs
from backend.engine.api.requests import ChatRequest, NamedTool
from backend.engine.api.template import render_chat
from backend.engine.api.text_answer import TextAnswer
from backend.engine.work import Delta, Generation, Work


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Answer one chat."""
    frontend = request.app[FRONTEND]
    async with frontend.exchange(request) as exchange:
        asked = await frontend.read(request, ChatRequest)
        model = frontend.check_model(asked.model)
        frontend.check_room(asked.n or 1)
        work = chat_work(asked, exchange)
        param = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
        frontend.check_work(work, param)
        async with frontend.generation(work, exchange) as generation:
            chat = Chat(asked, exchange, generation, model)
            if asked.stream:
                return await exchange.stream(chat.events())
            document = await chat.document()
            return await exchange.answer(document, document["usage"]["completion_tokens"])


def chat_prompt(asked: ChatRequest) -> bytes:
    """The rendered prompt."""
    tools = [tool.model_dump() for tool in asked.tools or []]
    return render_chat(asked.messages, tools, generate=asked.add_generation_prompt)


def chat_work(asked: ChatRequest, exchange: Exchange, request_id: str | None = None) -> Work:
    """What the engine has to do for a chat."""
    call = called(asked)
    return Work(
        request_id=request_id or f"chatcmpl-{exchange.base_id}",
        prompts=(chat_prompt(asked),),
        n=1 if asked.n is None else asked.n,
        max_tokens=asked.token_limit,
        min_tokens=asked.min_tokens,
        ignore_eos=asked.ignore_eos,
        stop=asked.stops,
        include_stop=asked.include_stop_str_in_output,
        stream=bool(asked.stream),
        stream_interval=asked.stream_interval or 1,
        priority=exchange.priority(asked.priority),
        cache_salt=asked.cache_salt or "",
        adapter=exchange.engine.config.adapter(asked.model),
        seed=asked.seed,
        script=structured_answer(asked) if call is None else call.script,
    )


class Chat(TextAnswer[ChatRequest]):
    """One chat being answered; `call` is the tool that it calls, where it does."""

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def __init__(self, asked: ChatRequest, exchange: Exchange, generation: Generation, model: str) -> None:
        super().__init__(asked, exchange, generation, model)
        self.call = called(asked)
        self._has_begun = False

    def _events(self, delta: Delta) -> Iterator[Event]:
        if not self._has_begun:
            self._has_begun = True
            for index in range(len(self.counts)):
                yield Event(sse(self._role_chunk(index)))
        sent = self.counts[delta.index]
        self.counts[delta.index] += len(delta.token_ids)
        shown = self._shown(delta, sent)
        if shown is not None:
            yield Event(sse(self._delta_chunk(delta, shown)), len(delta.token_ids))

    def _running_usage(self, tokens: int) -> dict[str, Any]:
        if not self._shows_running_usage:
            return {}
        return {"usage": {**self._usage(tokens), "completion_tokens_details": None}}

    def _role_chunk(self, index: int) -> dict[str, Any]:
        delta = {"role": "assistant", "content": ""}
        chunk = self._chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])
        return {**chunk, **self._running_usage(0), "prompt_token_ids": self._prompt_ids(), "prompt_text": None}

    def _prompt_ids(self) -> list[int] | None:
        return list(self.generation.work.prompts[0]) if self.asked.return_token_ids else None

    def _delta_chunk(self, delta: Delta, shown: dict[str, Any]) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": delta.index,
            "delta": shown,
            "logprobs": self._logprobs(delta.token_ids),
            "finish_reason": self._finish_reason(delta.finish_reason),
        }
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        choice["token_ids"] = list(delta.token_ids) if self.asked.return_token_ids else None
        return {**self._chunk([choice]), **self._running_usage(self.counts[delta.index]), **self._fingerprint(delta)}

    def _shown(self, delta: Delta, sent: int) -> dict[str, Any] | None:
        """What the client sees of a delta; None if its tokens show no text (half a character) and need no chunk."""
        needs_chunk = delta.finish_reason is not None or self.asked.logprobs or self.asked.return_token_ids
        silence: dict[str, Any] | None = {} if needs_chunk else None
        if self.call is None:
            return {"content": delta.text} if delta.text else silence
        opens, arguments = self.call.shown(sent, sent + len(delta.token_ids))
        function: dict[str, Any] = {"name": self.call.name} if opens else {}
        if arguments:
            function["arguments"] = arguments
        if function:
            identity = {"id": self._call_id(delta.index), "type": "function"} if opens else {}
            return {"content": None, "tool_calls": [{**identity, "index": 0, "function": function}]}
        return silence

    def _call_id(self, index: int) -> str:
        return f"chatcmpl-tool-{self.exchange.base_id}-{index}"

    def _finish_reason(self, reason: str | None) -> str | None:
        calls = self.call is not None and not isinstance(self.asked.tool_choice, NamedTool)
        return "tool_calls" if calls and reason == "stop" else reason

    def _logprobs(self, token_ids: tuple[int, ...]) -> dict[str, Any] | None:
        return chat_logprobs(token_ids, self.asked.top_logprobs or 0) if self.asked.logprobs else None

    def _details(self) -> dict[str, Any]:
        return self.generation.prompt_details()

    def _whole_details(self) -> dict[str, Any]:
        return {"created_cache_tokens": self.generation.created_cache_tokens}

    def _prompt_members(self) -> dict[str, Any]:
        return {"prompt_logprobs": None, "prompt_token_ids": self._prompt_ids(), "prompt_text": None}

    def _choice(self, delta: Delta) -> dict[str, Any]:
        return {
            "index": delta.index,
            "message": self._message(delta),
            "logprobs": self._logprobs(delta.token_ids),
            "finish_reason": self._finish_reason(delta.finish_reason),
            "stop_reason": delta.stop_reason,
            "token_ids": list(delta.token_ids) if self.asked.return_token_ids else None,
            "routed_experts": None,
        }

    def _message(self, delta: Delta) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": delta.text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
        }
        # A call that the token limit cut short stays what it is: text.
        if self.call is not None and delta.finish_reason == "stop":
            message["content"] = None if self.asked.tool_choice in (None, "auto") else ""
            function = {"name": self.call.name, "arguments": self.call.arguments.decode()}
            message["tool_calls"] = [{"id": self._call_id(delta.index), "type": "function", "function": function}]
        return {**message, "reasoning": None}
