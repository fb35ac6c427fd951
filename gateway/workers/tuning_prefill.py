"""The window in prompt tokens that were sent and not read: enough that no slot waits for a prompt, and no more.

Grows by a quarter while it alone holds work back, nothing waits and slots are free; shrinks by a quarter when more
waits than the slack and neither slots nor memory explain it. The size that overflowed is not reached again.
"""

FIRST_PREFILL_TOKENS = 2048  # vLLM's default step budget
FEWEST_PREFILL_TOKENS = 512
MOST_PREFILL_TOKENS = 16_384
_STRIKES = 2


class PrefillLaw:
    """How many prompt tokens may be in flight without a first token."""

    __slots__ = ("_ceiling", "_is_fixed", "_strikes", "limit")

    def __init__(self, tokens: int | None) -> None:
        """Fixed at `tokens`, or tuned."""
        self._is_fixed = tokens is not None
        self.limit = FIRST_PREFILL_TOKENS if tokens is None else tokens
        self._ceiling = MOST_PREFILL_TOKENS
        self._strikes = 0

    @property
    def is_least(self) -> bool:
        """True where it cannot shrink."""
        return self._is_fixed or self.limit <= FEWEST_PREFILL_TOKENS

    def overflowed(self) -> bool:
        """More waits than the slack for want of prefill; True where the window changed."""
        self._strikes += 1
        if self._strikes < _STRIKES or self.is_least:
            return False
        self._strikes = 0
        self.limit = max(FEWEST_PREFILL_TOKENS, self.limit * 3 // 4)
        self._ceiling = self.limit
        return True

    def fitted(self, *, is_held: bool) -> bool:
        """Nothing waits; `is_held` says that work waits for prefill alone; True where it grew."""
        self._strikes = 0
        if self._is_fixed or not is_held or self.limit >= self._ceiling:
            return False
        self.limit = min(self._ceiling, self.limit * 5 // 4)
        return True
