"""What an API handler asks of the engine, and the answer as it grows: work, choices, deltas, generations.

Rules: a choice is one sequence; it turns tokens into text and knows why it ends. A natural end is one token without
text, as a model's end-of-sequence token is. Text that may be the start of a stop string is held back. Deltas that
nobody has taken yet merge, as in vLLM's output collector. Tokens are bytes; the id of a byte is its value.
"""

import asyncio
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from backend.engine.core import Sequence

END_TOKEN = 257
_Utf8Decoder = getincrementaldecoder("utf-8")


class EngineDeadError(Exception):
    """The engine stopped working while a request was in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One request: `n` choices for each prompt. `max_tokens` bounds each choice, None leaves it to the context.

    `script` is what every choice says instead of prose; pooling work computes its prompts and says nothing. Prompts
    are the bytes of the rendered text.
    """

    request_id: str
    prompts: tuple[bytes, ...]
    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    stream: bool = False
    stream_interval: int = 1
    priority: int = 0
    cache_salt: str = ""
    adapter: str = ""
    seed: int | None = None
    script: bytes | None = None
    is_pooling: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum(len(prompt) for prompt in self.prompts)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one choice gained since its last delta; `text` may lag behind the tokens."""

    index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None
    stop_reason: str | None


class Choice:
    """One sequence and the text that its tokens make."""

    def __init__(self, index: int, sequence: Sequence, passage: Iterator[bytes], natural_tokens: int | None) -> None:
        self.index = index
        self.sequence = sequence
        self.finish_reason: str | None = None
        self.stop_reason: str | None = None
        self._passage = passage
        self._natural_tokens = natural_tokens
        self._decoder = _Utf8Decoder("replace")
        self._sent_tokens = 0
        self._unsent_text = ""
        self._unsent: list[int] = []

    def advance(self, work: Work) -> None:
        """Take the token that the sequence just gained; sets `finish_reason` when it is the last."""
        is_end = self.sequence.output_tokens == self._natural_tokens
        token = b"" if is_end else next(self._passage)
        self._unsent.append(END_TOKEN if is_end else token[0])
        self._unsent_text += self._decoder.decode(token, final=is_end)
        if is_end or (work.stop and self.sequence.output_tokens > work.min_tokens and self._meets_stop(work)):
            self.finish_reason = "stop"
        elif self.sequence.is_finished:
            self.finish_reason = "length"

    def _meets_stop(self, work: Work) -> bool:
        for stop in work.stop:
            start = self._unsent_text.find(stop)
            if start >= 0:
                self._unsent_text = self._unsent_text[: start + len(stop) if work.include_stop else start]
                self.stop_reason = stop
                return True
        return False

    def has_news(self, work: Work) -> bool:
        """True when a delta is due: the first token, every `stream_interval`-th, the last."""
        if not self._unsent:
            return False
        if self.finish_reason is not None:
            return True
        return work.stream and (self._sent_tokens == 0 or len(self._unsent) >= work.stream_interval)

    def next_delta(self, work: Work) -> Delta:
        """The delta since the last one."""
        held_back = 0 if self.finish_reason is not None or not work.stop else max(map(len, work.stop)) - 1
        cut = max(len(self._unsent_text) - held_back, 0)
        text, self._unsent_text = self._unsent_text[:cut], self._unsent_text[cut:]
        token_ids, self._unsent = tuple(self._unsent), []
        self._sent_tokens += len(token_ids)
        return Delta(self.index, text, token_ids, self.finish_reason, self.stop_reason)


class Generation:
    """The choices of one request, and the reader that waits for them."""

    def __init__(self, work: Work, choices: list[Choice], cacheable_tokens: int) -> None:
        self.work = work
        self.choices = choices
        self._cacheable_tokens = cacheable_tokens
        self._news = asyncio.Event()
        self._failure: str | None = None

    @property
    def is_finished(self) -> bool:
        """True when every choice has its end."""
        return all(choice.finish_reason is not None for choice in self.choices)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens found in the prefix cache by the first choice."""
        return self.choices[0].sequence.cached_tokens

    def prompt_details(self) -> dict[str, int]:
        """Prompt tokens that the prefix cache held, and those that it holds now because of this request."""
        return {"cached_tokens": self.cached_tokens, "created_cache_tokens": self.created_cache_tokens}

    @property
    def created_cache_tokens(self) -> int:
        """Prompt tokens in full blocks that had to be computed."""
        return self._cacheable_tokens - self.cached_tokens

    def announce(self) -> None:
        """Wake the reader."""
        self._news.set()

    def fail(self, message: str) -> None:
        """Make the reader raise `EngineDeadError`."""
        self._failure = message
        self._news.set()

    async def deltas(self) -> AsyncIterator[Delta]:
        """Deltas in order of arrival until every choice has ended; raises EngineDeadError."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._failure is not None:
                raise EngineDeadError(self._failure)
            finished = self.is_finished
            for choice in self.choices:
                if choice.has_news(self.work):
                    yield choice.next_delta(self.work)
            if finished:
                return
