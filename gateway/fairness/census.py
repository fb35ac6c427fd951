"""How many key flows are known, over all tenants and pools, and when idle ones are forgotten.

An end user is a key flow, and anybody can invent end users. So one bound holds for all key flows together, and those
that have been idle for long are forgotten even below it. A flow that was forgotten comes back as a newcomer, lifted
level with those who wait or just left: it has no credit to spend.
"""

from typing import Protocol

MAX_IDLE_KEYS = 10_000
"""Idle keys are forgotten when so many keys are known, or twice as many as the last clearing left if that is more."""

SWEEP_SECONDS = 1800.0  # between two looks; a key that was not used in between is forgotten


class Holder(Protocol):
    """One tenant in one pool."""

    @property
    def known_keys(self) -> int:
        """How many keys are kept."""
        ...

    def forget_idle(self, *, only_unused: bool = False) -> None:
        """Drop every idle key, or only those that were not used since the last call."""
        ...


class Census:
    """Every holder of keys."""

    __slots__ = ("_forget_at", "_holders", "_known", "_sweep_at")

    def __init__(self) -> None:
        """No keys yet."""
        self._holders: dict[Holder, None] = {}
        self._known = 0
        self._forget_at = MAX_IDLE_KEYS
        self._sweep_at = 0.0

    def add(self, holder: Holder) -> None:
        """Note that `holder` adds a key; at the bound all holders forget their idle keys: O(keys), rarely."""
        if self._known >= self._forget_at:
            for each in self._holders:
                each.forget_idle()
            self._count()
        self._holders[holder] = None
        self._known += 1

    def sweep(self, now: float) -> None:
        """Forget the keys that have long been idle, if it is time to look: O(keys), twice an hour."""
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            for each in self._holders:
                each.forget_idle(only_unused=True)
            self._count()

    def leave(self, holder: Holder) -> None:
        """Drop a holder that is gone."""
        self._holders.pop(holder, None)
        self._count()

    def _count(self) -> None:
        self._known = sum(each.known_keys for each in self._holders)
        self._forget_at = max(MAX_IDLE_KEYS, 2 * self._known)
