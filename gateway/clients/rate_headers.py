"""The headers that tell a client what is left of its tenant's rates, as OpenAI's and Anthropic's APIs name them.

What is left counts the request that is answered: its prompt and its expected output. A reset is the moment when all of
the rate is there again if nothing else uses it. OpenAI tells it as a duration (`6m0s`), Anthropic as a time (RFC 3339).
"""

import math
import time
from collections.abc import Sequence
from typing import Final

from gateway.fairness import RateLevel, Rates
from gateway.wire.surface import Dialect

_KINDS: Final = ("requests", "tokens")
_FACTS: Final = ("limit", "remaining", "reset")

RATE_HEADERS: Final = tuple(
    name
    for kind in _KINDS
    for fact in _FACTS
    for name in (f"x-ratelimit-{fact}-{kind}", f"anthropic-ratelimit-{kind}-{fact}")
)
"""Every name that may stand in an answer."""


def rate_headers(dialect: Dialect, rates: Rates | None) -> Sequence[tuple[str, str]]:
    """The headers for `rates` in an answer in `dialect`; none for a tenant without rates (None)."""
    if rates is None:
        return ()
    headers: list[tuple[str, str]] = []
    for kind, level in zip(_KINDS, rates, strict=True):
        if level is not None:
            headers += _headers(dialect, kind, level)
    return headers


def _headers(dialect: Dialect, kind: str, level: RateLevel) -> Sequence[tuple[str, str]]:
    limit, left = str(level.per_minute), str(level.left)
    match dialect:
        case Dialect.OPENAI:
            return (
                (f"x-ratelimit-limit-{kind}", limit),
                (f"x-ratelimit-remaining-{kind}", left),
                (f"x-ratelimit-reset-{kind}", _duration(level.reset_seconds)),
            )
        case Dialect.ANTHROPIC:
            return (
                (f"anthropic-ratelimit-{kind}-limit", limit),
                (f"anthropic-ratelimit-{kind}-remaining", left),
                (f"anthropic-ratelimit-{kind}-reset", _moment(time.time() + level.reset_seconds)),
            )


def _duration(seconds: float) -> str:
    """`seconds` as Go writes them: `0s`, `80ms`, `8s`, `6m0s`, `1h0m0s`."""
    if 0.0 < seconds < 1.0:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _moment(at: float) -> str:
    """The second in which `at` (seconds since 1970) lies or, within a second, ends."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(at)))
