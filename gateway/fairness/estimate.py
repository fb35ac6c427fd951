"""Prompt tokens guessed from bytes, and rates learned from answers: what is needed before the engine has counted.

Tokenising on the event loop would stall every stream, so a prompt is costed by the pool's learned ratio of tokens to
bytes; the first usage that the engine reports replaces the guess (`admission.charge`). The rates drive the running
estimate of answers that are not streamed. All state is a few floats that forget, so nothing drifts over months.
"""

import math

_FIRST_TOKENS_PER_BYTE = 0.3  # about 3.3 bytes a token: English under the common vocabularies
_FACTOR = 0.05  # of a steady average; the first observations count for more


class RunningMean:
    """A mean that follows its input: plain average at first, exponential with factor 1/20 later."""

    __slots__ = ("_count", "value")

    def __init__(self, first: float) -> None:
        """Say `first` until something was observed."""
        self.value = first
        self._count = 0

    def observe(self, sample: float) -> None:
        """Move towards `sample`."""
        self._count += 1
        self.value += (sample - self.value) * max(_FACTOR, 1 / self._count)


class PromptEstimator:
    """Tokens of a prompt from its bytes, learned for one pool."""

    __slots__ = ("_tokens_per_byte",)

    _TOKENS_PER_MEDIA_PART = 576  # one image of 336 x 336 under ViT-L/14, the LLaVA-1.5 figure

    def __init__(self) -> None:
        """Start from 0.3 tokens per byte."""
        self._tokens_per_byte = RunningMean(_FIRST_TOKENS_PER_BYTE)

    def estimate(self, prompt_bytes: int, media_parts: int = 0) -> int:
        """Prompt tokens expected of `prompt_bytes` of text and `media_parts` images or clips; at least 1."""
        text = math.ceil(prompt_bytes * self._tokens_per_byte.value)
        return max(1, text + media_parts * self._TOKENS_PER_MEDIA_PART)

    def observe(self, prompt_bytes: int, prompt_tokens: int) -> None:
        """Learn from a prompt that the engine has counted."""
        if prompt_bytes > 0 and prompt_tokens > 0:
            self._tokens_per_byte.observe(prompt_tokens / prompt_bytes)


class EngineRates:
    """Speed of a pool's engines as seen from outside: decode per sequence, prefill per prompt token."""

    __slots__ = ("_decode", "_prefill")

    _FIRST_DECODE_TOKENS_PER_SECOND = 20.0
    _FIRST_PREFILL_SECONDS_PER_TOKEN = 0.0005

    def __init__(self) -> None:
        """Start from a slow GPU's figures; the first answers correct them."""
        self._decode = RunningMean(self._FIRST_DECODE_TOKENS_PER_SECOND)
        self._prefill = RunningMean(self._FIRST_PREFILL_SECONDS_PER_TOKEN)

    def output_tokens(self, seconds: float, prompt_tokens: int) -> float:
        """Tokens that one sequence should have generated `seconds` after its dispatch."""
        return max(0.0, seconds - self.prefill_seconds(prompt_tokens)) * self._decode.value

    def prefill_seconds(self, prompt_tokens: int) -> float:
        """Time from dispatch to first token expected of a prompt."""
        return prompt_tokens * self._prefill.value

    def observe_prefill(self, prompt_tokens: int, seconds: float) -> None:
        """Learn from a stream's time to first token."""
        if prompt_tokens > 0:
            self._prefill.observe(seconds / prompt_tokens)

    def observe_decode(self, output_tokens_per_sequence: float, seconds: float) -> None:
        """Learn from a finished answer's tokens per sequence and the time they took."""
        if seconds > 0 and output_tokens_per_sequence >= 2:
            self._decode.observe(output_tokens_per_sequence / seconds)


class DecayingSum:
    """A sum that forgets exponentially: of arrivals it gives a rate, of service what was received lately."""

    __slots__ = ("_at", "_sum", "horizon_seconds")

    def __init__(self, horizon_seconds: float) -> None:
        """Forget with time constant `horizon_seconds`."""
        self.horizon_seconds = horizon_seconds
        self._sum = 0.0
        self._at = 0.0

    def add(self, amount: float, now: float) -> None:
        """Add `amount` at `now`."""
        self._sum = self.value(now) + amount
        self._at = now

    def value(self, now: float) -> float:
        """What is left of the sum as of `now`."""
        if self._sum == 0.0:
            return 0.0
        return self._sum * math.exp((self._at - now) / self.horizon_seconds)

    def per_second(self, now: float) -> float:
        """The rate of additions as of `now`."""
        return self.value(now) / self.horizon_seconds
