"""Counts how much of each tenant's prompts the engines found in their prefix caches, for the state dump.

The sums are those of `vtc_gateway_tokens_total`, but for every tenant and with the rate computed. Their number is
bounded by the tenants and pools of the configuration. An engine that does not report cached tokens counts as having
found none.
"""

from heapq import nlargest

from gateway.events import Event, RequestFinished

MAX_SHOWN = 1000


class _Sum:
    """Tokens of one tenant in one pool."""

    __slots__ = ("cached_tokens", "prompt_tokens")

    def __init__(self) -> None:
        self.cached_tokens = 0
        self.prompt_tokens = 0


class CacheHits:
    """Observes requests that ended."""

    def __init__(self) -> None:
        """Start without requests."""
        self._sums: dict[tuple[str, str], _Sum] = {}

    def observe(self, event: Event) -> None:
        """Count the prompt of a request that ended."""
        if isinstance(event, RequestFinished) and event.prompt_tokens:
            share = (event.pool, event.tenant)
            tally = self._sums.get(share) or self._sums.setdefault(share, _Sum())
            tally.prompt_tokens += event.prompt_tokens
            tally.cached_tokens += event.cached_tokens

    def dump(self) -> list[dict[str, object]]:
        """Pool, tenant, tokens and hit rate, those with the most prompt tokens first; JSON's types only."""
        largest = nlargest(MAX_SHOWN, self._sums.items(), key=lambda item: item[1].prompt_tokens)
        return [
            {
                "pool": pool,
                "tenant": tenant,
                "prompt_tokens": tally.prompt_tokens,
                "cached_tokens": tally.cached_tokens,
                "hit_rate": tally.cached_tokens / tally.prompt_tokens,
            }
            for (pool, tenant), tally in largest
        ]
