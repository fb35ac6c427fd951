"""`POST /v1/completions`: text for text, several prompts at once, each with its choices.

A choice is a pair of prompt and choice. What it shares with chats is in `text_answer`.
"""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from backend.engine.api.answers import structured_answer
from backend.engine.api.errors import ApiError
from backend.engine.api.exchange import Event, Exchange, sse
from backend.engine.api.frontend import FRONTEND
from backend.engine.api.logprobs import completion_logprobs
from backend.engine.api.requests import CompletionRequest
from backend.engine.api.text_answer import TextAnswer
from backend.engine.work import END_TOKEN, Delta, Generation, Work


async def completions(request: web.Request) -> web.StreamResponse:
    """Answer one completion request."""
    frontend = request.app[FRONTEND]
    async with frontend.exchange(request) as exchange:
        asked = await frontend.read(request, CompletionRequest)
        model = frontend.check_model(asked.model)
        frontend.check_room(asked.n or 1)
        work = completion_work(asked, exchange)
        frontend.check_work(work)
        async with frontend.generation(work, exchange) as generation:
            completion = Completion(asked, exchange, generation, model)
            if asked.stream:
                return await exchange.stream(completion.events())
            document = await completion.document()
            return await exchange.answer(document, document["usage"]["completion_tokens"])


def completion_work(asked: CompletionRequest, exchange: Exchange) -> Work:
    """What the engine has to do for a completion; `max_tokens` 0 with `echo` still computes one token, as in vLLM."""
    return Work(
        request_id=f"cmpl-{exchange.base_id}",
        prompts=_prompts(asked.prompt),
        n=1 if asked.n is None else asked.n,
        max_tokens=16 if asked.max_tokens is None else asked.max_tokens or (1 if asked.echo else 0),
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
        script=structured_answer(asked),
    )


def _prompts(prompt: Any) -> tuple[bytes, ...]:
    """Each prompt as its tokens; ids past the vocabulary are an error."""
    if isinstance(prompt, str):
        return (prompt.encode(),)
    if isinstance(prompt[0], int):
        return (_from_ids(prompt),)
    return tuple(part.encode() if isinstance(part, str) else _from_ids(part) for part in prompt)


def _from_ids(token_ids: list[int]) -> bytes:
    if any(token_id > END_TOKEN + 1 for token_id in token_ids):
        raise ApiError(400, f"Token id {max(token_ids)} is out of vocabulary", param="prompt")
    return bytes(min(token_id, 255) for token_id in token_ids)


class Completion(TextAnswer[CompletionRequest]):
    """One completion request being answered."""

    kind = chunk_kind = "text_completion"

    def __init__(self, asked: CompletionRequest, exchange: Exchange, generation: Generation, model: str) -> None:
        super().__init__(asked, exchange, generation, model)
        self._offsets = [0] * len(self.counts)

    def _prompt(self, index: int) -> bytes:
        return self.generation.work.prompts[index // self.generation.work.n]

    def _events(self, delta: Delta) -> Iterator[Event]:
        yield Event(sse(self._delta_chunk(delta)), len(delta.token_ids))

    def _details(self) -> dict[str, Any]:
        return {"cached_tokens": self.generation.cached_tokens}

    def _whole_details(self) -> dict[str, Any]:
        return {"created_cache_tokens": None}

    def _delta_chunk(self, delta: Delta) -> dict[str, Any]:
        index = delta.index
        is_first = self.counts[index] == 0
        prompt = self._prompt(index)
        self.counts[index] += len(delta.token_ids)
        asks_ids = self.asked.return_token_ids
        choice = {
            "index": index,
            "text": self._echoed(delta, prompt) if is_first else delta.text,
            "logprobs": self._logprobs(delta, prompt, is_first),
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
            "prompt_token_ids": list(prompt) if is_first and (asks_ids or self.asked.echo) else None,
            "token_ids": list(delta.token_ids) if asks_ids else None,
        }
        chunk = self._chunk([choice])
        if self._shows_running_usage:
            chunk["usage"] = self.exchange.usage(len(prompt), self.counts[index])
        return {**chunk, **self._fingerprint(delta)}

    def _echoed(self, delta: Delta, prompt: bytes) -> str:
        if not self.asked.echo:
            return delta.text
        echo = "" if self.asked.return_token_ids else prompt.decode("utf-8", "replace")
        return echo if self.asked.max_tokens == 0 else echo + delta.text

    def _logprobs(self, delta: Delta, prompt: bytes, is_first: bool) -> dict[str, Any] | None:
        if self.asked.logprobs is None:
            return None
        token_ids = delta.token_ids
        if is_first and self.asked.echo:
            token_ids = (*prompt, *token_ids) if self.asked.max_tokens != 0 else tuple(prompt)
        logprobs = completion_logprobs(token_ids, max(self.asked.logprobs, 0), self._offsets[delta.index])
        if is_first and self.asked.echo:
            # Nothing stands before the prompt's first token that could make it likely.
            logprobs["token_logprobs"][0] = logprobs["top_logprobs"][0] = None
        self._offsets[delta.index] += sum(len(token) for token in logprobs["tokens"])
        return logprobs

    def _choice(self, delta: Delta) -> dict[str, Any]:
        prompt = self._prompt(delta.index)
        asks_ids = self.asked.return_token_ids
        return {
            "index": delta.index,
            "text": self._echoed(delta, prompt),
            "logprobs": self._logprobs(delta, prompt, is_first=True),
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
            "token_ids": list(delta.token_ids) if asks_ids else None,
            "prompt_logprobs": None,
            "prompt_token_ids": list(prompt) if asks_ids else None,
            "routed_experts": None,
        }
