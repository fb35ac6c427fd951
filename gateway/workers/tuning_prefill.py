"""The window in prompt tokens that were sent and not read: enough that no slot waits for a prompt, and no more.

Grows by a quarter where for some readings in a row it alone held work back, nothing waited and an eighth of the slots
stayed empty: fewer empty slots cost no throughput, and a prompt more that is sent is one more in front of a light
tenant's. When more than the slack waits and neither slots nor memory explain it, it goes back to where it was before it
grew, else shrinks by a quarter. The size that overflowed is not reached again.
"""

FIRST_PREFILL_TOKENS = 2048  # vLLM's default step budget
FEWEST_PREFILL_TOKENS = 512
MOST_PREFILL_TOKENS = 8192  # the largest step budget that vLLM chooses by itself on common GPUs
_STRIKES = 2.0
_FORGIVEN = 0.01  # of a strike, by each reading at which nothing waits: one queue in a hundred is borne
_PATIENCE = 4


class PrefillLaw:
    """How many prompt tokens may be in flight without a first token."""

    __slots__ = ("_before", "_ceiling", "_held", "_is_fixed", "_strikes", "limit")

    def __init__(self, tokens: int | None) -> None:
        """Fixed at `tokens`, or tuned."""
        self._is_fixed = tokens is not None
        self.limit = FIRST_PREFILL_TOKENS if tokens is None else tokens
        self._before = self.limit  # the size before the last growth
        self._ceiling = MOST_PREFILL_TOKENS
        self._strikes = 0.0
        self._held = 0  # readings in a row at which it alone held work back

    @property
    def is_least(self) -> bool:
        """True where it cannot shrink."""
        return self._is_fixed or self.limit <= FEWEST_PREFILL_TOKENS

    def overflowed(self) -> bool:
        """More waits than the slack for want of prefill; True where the window changed."""
        self._strikes += 1.0
        self._held = 0
        if self._strikes < _STRIKES or self.is_least:
            return False
        self._strikes = 0.0
        shrunk = self._before if self._before < self.limit else self.limit * 3 // 4
        self.limit = self._before = self._ceiling = max(FEWEST_PREFILL_TOKENS, shrunk)
        return True

    def fitted(self, *, is_held: bool) -> bool:
        """Nothing waits; `is_held` says that work waits for prefill alone and slots are empty; True where it grew."""
        self._strikes = max(0.0, self._strikes - _FORGIVEN)
        self._held = self._held + 1 if is_held else 0
        if self._is_fixed or self._held < _PATIENCE or self.limit >= self._ceiling:
            return False
        self._held = 0
        self._before = self.limit
        self.limit = min(self._ceiling, self.limit * 5 // 4)
        return True
