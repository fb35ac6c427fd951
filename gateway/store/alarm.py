"""Lets one task sleep until a time, or until somebody has a reason to wake it earlier."""

import asyncio
import math
from typing import Final

_SOON_SECONDS: Final = 1e-6  # a timer of the event loop may be early by its clock's resolution


def has_come(at: float, now: float) -> bool:
    """True if a sleeper that was to wake at `at` need not sleep on."""
    return at - now < _SOON_SECONDS


class Alarm:
    """For one sleeper on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nobody sleeps yet."""
        self._loop = loop
        self._sleeper: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    async def wait(self, until: float) -> None:
        """Sleep until the loop's time `until`, or until an earlier ring."""
        self._sleeper = self._loop.create_future()
        self.ring(until)
        try:
            await self._sleeper
        finally:
            self._sleeper = None
            self._cancel()

    def ring(self, at: float) -> None:
        """Wake the sleeper at the loop's time `at`, if it sleeps then; an earlier ring stays."""
        if self._sleeper is None or at >= self._at:
            return
        self._cancel()
        self._at = at
        self._timer = self._loop.call_at(at, self._wake)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = math.inf

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
