"""`POST /v1/completions`: text for text, several prompts at once, each with its choices.

Usage in a stream is cumulative for each pair of prompt and choice; the last event has the totals. Keys stand in the
order of vLLM's response models.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from backend.engine.api.answers import structured_answer
from backend.engine.api.entry import DESK
from backend.engine.api.errors import ApiError
from backend.engine.api.exchange import DONE, FINGERPRINT, Event, Exchange, sse
from backend.engine.api.logprobs import completion_logprobs
from backend.engine.api.requests import CompletionRequest
from backend.engine.work import END_TOKEN, Delta, Generation, Work


async def completions(request: web.Request) -> web.StreamResponse:
    """Answer one completion request."""
    desk = request.app[DESK]
    async with desk.exchange(request) as exchange:
        asked = await desk.read(request, CompletionRequest)
        desk.check_model(asked.model)
        desk.check_room(asked.n or 1)
        work = completion_work(asked, exchange)
        desk.check_work(work)
        async with desk.generation(work, exchange) as generation:
            completion = Completion(asked, exchange, generation, desk.engine.config.model)
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


@dataclass(slots=True)
class Completion:
    """One completion request being answered."""

    asked: CompletionRequest
    exchange: Exchange
    generation: Generation
    model: str
    _counts: list[int] = field(default_factory=list)
    _offsets: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._counts = [0] * len(self.generation.choices)
        self._offsets = [0] * len(self.generation.choices)

    def _prompt(self, index: int) -> bytes:
        return self.generation.work.prompts[index // self.generation.work.n]

    async def events(self) -> AsyncIterator[Event]:
        """The stream."""
        async for delta in self.generation.deltas():
            yield Event(sse(self._delta_chunk(delta)), len(delta.token_ids))
        if self.asked.includes_usage and not self.exchange.hides_usage:
            usage = self.exchange.usage(self.generation.work.prompt_tokens, sum(self._counts))
            usage["prompt_tokens_details"] = {"cached_tokens": self.generation.cached_tokens}
            yield Event(sse({**self._chunk([]), "usage": usage, "system_fingerprint": FINGERPRINT}))
        yield Event(DONE)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.generation.work.request_id,
            "object": "text_completion",
            "created": self.exchange.created,
            "model": self.model,
            "choices": choices,
        }

    def _delta_chunk(self, delta: Delta) -> dict[str, Any]:
        index = delta.index
        is_first = self._counts[index] == 0
        prompt = self._prompt(index)
        self._counts[index] += len(delta.token_ids)
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
        if self.asked.continues_usage and not self.exchange.hides_usage:
            chunk["usage"] = self.exchange.usage(len(prompt), self._counts[index])
        if delta.finish_reason is not None and not self.asked.includes_usage:
            chunk["system_fingerprint"] = FINGERPRINT
        return chunk

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

    async def document(self) -> dict[str, Any]:
        """The whole answer."""
        deltas = sorted([delta async for delta in self.generation.deltas()], key=lambda delta: delta.index)
        tokens = sum(len(delta.token_ids) for delta in deltas)
        usage = self.exchange.usage(self.generation.work.prompt_tokens, tokens)
        cached_tokens = self.generation.cached_tokens
        details = {"cached_tokens": cached_tokens, "created_cache_tokens": None, "multimodal_tokens": None}
        return {
            "id": self.generation.work.request_id,
            "object": "text_completion",
            "created": self.exchange.created,
            "model": self.model,
            "choices": [self._choice(delta) for delta in deltas],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": {**usage, "prompt_tokens_details": details, "completion_tokens_details": None},
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

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
