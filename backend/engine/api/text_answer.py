"""What answers of chat and text completions have in common: the stream loop, the envelope, the usage.

Stream: the deltas of each choice as its dialect tells them, then, where asked, one chunk with the totals, then the end
marker. Usage is cumulative for each choice, as vLLM counts it. Keys stand in the order of vLLM's response models.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from backend.engine.api.exchange import DONE, FINGERPRINT, Event, Exchange, sse
from backend.engine.api.requests import GenerateRequest
from backend.engine.work import Delta, Generation

Asked = TypeVar("Asked", bound=GenerateRequest)


@dataclass(slots=True)
class TextAnswer(ABC, Generic[Asked]):
    """One request for text being answered; `counts` are the tokens of each choice that were sent so far."""

    asked: Asked
    exchange: Exchange
    generation: Generation
    model: str
    counts: list[int] = field(init=False)

    kind: ClassVar[str]
    chunk_kind: ClassVar[str]

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.generation.choices)

    async def events(self) -> AsyncIterator[Event]:
        """The stream."""
        async for delta in self.generation.deltas():
            for event in self._events(delta):
                yield event
        if self.asked.includes_usage and not self.exchange.hides_usage:
            usage = self._usage(sum(self.counts)) | {"prompt_tokens_details": self._details()}
            yield Event(sse({**self._chunk([]), "usage": usage, "system_fingerprint": FINGERPRINT}))
        yield Event(DONE)

    async def document(self) -> dict[str, Any]:
        """The whole answer."""
        deltas = sorted([delta async for delta in self.generation.deltas()], key=lambda delta: delta.index)
        usage = self._usage(sum(len(delta.token_ids) for delta in deltas))
        details = {"cached_tokens": self.generation.cached_tokens, **self._whole_details(), "multimodal_tokens": None}
        return {
            **self._envelope(self.kind, [self._choice(delta) for delta in deltas]),
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": {**usage, "prompt_tokens_details": details, "completion_tokens_details": None},
            **self._prompt_members(),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    @abstractmethod
    def _events(self, delta: Delta) -> Iterator[Event]:
        """The events for `delta`, which is added to `counts`."""

    @abstractmethod
    def _choice(self, delta: Delta) -> dict[str, Any]:
        """One choice of the whole answer."""

    @abstractmethod
    def _details(self) -> dict[str, Any]:
        """The prompt's details in the totals of a stream."""

    @abstractmethod
    def _whole_details(self) -> dict[str, Any]:
        """What a whole answer's details say of the cache besides."""

    def _prompt_members(self) -> dict[str, Any]:
        """What a whole answer says of its prompt."""
        return {}

    def _usage(self, tokens: int) -> dict[str, Any]:
        return self.exchange.usage(self.generation.work.prompt_tokens, tokens)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._envelope(self.chunk_kind, choices)

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.generation.work.request_id,
            "object": kind,
            "created": self.exchange.created,
            "model": self.model,
            "choices": choices,
        }

    @property
    def _shows_running_usage(self) -> bool:
        return self.asked.continues_usage and not self.exchange.hides_usage

    def _fingerprint(self, delta: Delta) -> dict[str, str]:
        """What a choice's last chunk says if no totals follow."""
        is_last = delta.finish_reason is not None and not self.asked.includes_usage
        return {"system_fingerprint": FINGERPRINT} if is_last else {}
