"""How many key flows are known, over all tenants and pools, and when the idle ones among them are forgotten.

An end user is a key flow, and anybody can invent end users: what is kept of them has one bound over all, and who has
been idle for long is forgotten without it. Whoever is forgotten comes back as a newcomer, lifted level with those who
wait or just left: it has no credit to spend.
"""

from typing import Protocol

MAX_IDLE_KEYS = 10_000  # idle keys are forgotten when this many, and as many as are busy, are known
SWEEP_SECONDS = 1800.0  # from one look to the next: who has asked for nothing in between is forgotten


class Holder(Protocol):
    """One tenant in one pool."""

    @property
    def known_keys(self) -> int: ...
    def forget_idle(self, *, only_unused: bool = False) -> None: ...


class Census:
    """Everybody who holds keys."""

    __slots__ = ("_forget_at", "_holders", "_known", "_sweep_at")

    def __init__(self) -> None:
        """No keys yet."""
        self._holders: dict[Holder, None] = {}
        self._known = 0
        self._forget_at = MAX_IDLE_KEYS
        self._sweep_at = 0.0

    def add(self, holder: Holder) -> None:
        """`holder` is about to know one key more; beyond the bound all forget their idle ones: O(keys), rarely."""
        if self._known >= self._forget_at:
            for each in self._holders:
                each.forget_idle()
            self._count()
        self._holders[holder] = None
        self._known += 1

    def sweep(self, now: float) -> None:
        """Forget who has long been idle, where it is time to look: O(keys), twice an hour."""
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            for each in self._holders:
                each.forget_idle(only_unused=True)
            self._count()

    def leave(self, holder: Holder) -> None:
        """`holder` is no more."""
        self._holders.pop(holder, None)
        self._count()

    def _count(self) -> None:
        self._known = sum(each.known_keys for each in self._holders)
        self._forget_at = max(MAX_IDLE_KEYS, 2 * self._known)
