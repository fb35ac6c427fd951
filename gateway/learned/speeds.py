"""Learns how fast a pool's engines are: the time to the first token of a prompt, and the decode rate of a sequence.

If an answer reports nothing while it runs, these speeds say when its prompt should be read and how much it should have
generated. Observations that do not show a speed are not used: tokens that come within a few milliseconds of each other
say nothing. If nearly all of an answer comes at once, its decode time is its whole time without the expected time of
its prompt, but at least half of the whole time.
"""

from typing import Final, NamedTuple

from gateway.learned.centre import Ratio
from gateway.learned.line import Line, Range
from gateway.learned.panel import Figures, Panel

_FIRST_TOKENS_PER_SECOND: Final = 20.0  # a slow GPU's figures; the first answers correct them
_FIRST_PREFILL_SECONDS_PER_TOKEN: Final = 0.00025
_FIRST_ANSWER_SECONDS: Final = 0.1  # the first guess counts like an answer of this length, so it weighs little
_USUAL_ANSWER_SECONDS: Final = 0.5  # an answer of up to this length counts whole, however short the others were
_LEAST_TOKENS_PER_SECOND: Final = 0.05
_MOST_TOKENS_PER_SECOND: Final = 2000.0  # of one sequence: several times what any engine does
_PREFILL: Final = Range(knee=512.0, least_slope=1e-6, most_slope=0.1, most_constant=30.0)
_LEAST_DECODE_SECONDS: Final = 0.05  # below this the network sets the time, not the engine
_AT_ONCE_SHARE: Final = 0.05  # tokens that took a smaller share of the whole time than this came at once
_LEAST_DECODE_SHARE: Final = 0.5  # of the whole time of an answer that came at once


def _prefill_line(figures: Figures) -> Line:
    return Line(_PREFILL, figures[0], figures[1])


def _decode_ratio(figures: Figures) -> Ratio:
    limits = _LEAST_TOKENS_PER_SECOND, _MOST_TOKENS_PER_SECOND
    return Ratio(figures[0], _FIRST_ANSWER_SECONDS, limits, _USUAL_ANSWER_SECONDS)


class StreamPace(NamedTuple):
    """How one sequence of a stream came: all its tokens, those after the first piece, and the seconds these took."""

    tokens: float
    later_tokens: float
    later_seconds: float


class EngineSpeeds:
    """The prefill and decode speeds of one pool's engines, as each tenant sees them."""

    __slots__ = ("_decode", "_prefill")

    def __init__(self) -> None:
        """Start from a slow GPU's figures."""
        first_decode, first_prefill = (_FIRST_TOKENS_PER_SECOND,), (0.0, _FIRST_PREFILL_SECONDS_PER_TOKEN)
        self._decode: Panel[Ratio] = Panel(_decode_ratio, first_decode, first_votes=False)
        self._prefill: Panel[Line] = Panel(_prefill_line, first_prefill, first_votes=False)

    def tokens_per_second(self, tenant: str) -> float:
        """How many tokens one sequence of `tenant` generates in a second."""
        return self._decode.figures(tenant)[0]

    def prefill_seconds(self, tenant: str, prompt_tokens: float) -> float:
        """The expected seconds from dispatch to first token for a prompt of `tenant`."""
        waiting_seconds, prefill_seconds = self.prefill(tenant, prompt_tokens)
        return waiting_seconds + prefill_seconds

    def prefill(self, tenant: str, prompt_tokens: float) -> tuple[float, float]:
        """The two parts of `prefill_seconds`: the seconds of any prompt, and the seconds for its tokens."""
        constant, per_token = self._prefill.figures(tenant)
        return constant, per_token * prompt_tokens

    def output_tokens(self, tenant: str, seconds: float, prompt_tokens: float) -> float:
        """How many tokens one sequence should have generated `seconds` after its dispatch."""
        return max(0.0, seconds - self.prefill_seconds(tenant, prompt_tokens)) * self.tokens_per_second(tenant)

    def observe_prefill(self, tenant: str, prompt_tokens: int, seconds: float) -> None:
        """Learn from a stream's time to first token; `prompt_tokens` are those that were not in the cache."""
        if seconds >= 0.0 and prompt_tokens >= 0:
            self._prefill.observed(tenant).observe(prompt_tokens, seconds)

    def observe_stream(self, tenant: str, prompt_tokens: int, ttft_seconds: float, pace: StreamPace) -> None:
        """Learn both speeds from a stream, or only the decode rate if nearly all of it came at once."""
        seconds = ttft_seconds + pace.later_seconds
        if pace.tokens > 1.0 and pace.later_seconds < _AT_ONCE_SHARE * seconds:
            self.observe_whole(tenant, prompt_tokens, pace.tokens, seconds)
        else:
            self.observe_prefill(tenant, prompt_tokens, ttft_seconds)
            self._observe_decode(tenant, pace.later_tokens, pace.later_seconds)

    def observe_whole(self, tenant: str, prompt_tokens: int, tokens: float, seconds: float) -> None:
        """Learn the decode rate from one sequence whose tokens came all together, `seconds` after its dispatch."""
        decoding = seconds - self.prefill_seconds(tenant, prompt_tokens)
        self._observe_decode(tenant, tokens, max(decoding, _LEAST_DECODE_SHARE * seconds))

    def _observe_decode(self, tenant: str, tokens: float, seconds: float) -> None:
        if tokens > 0.0 and seconds >= _LEAST_DECODE_SECONDS:
            self._decode.observed(tenant).observe(seconds, tokens)
