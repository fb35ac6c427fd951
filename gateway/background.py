"""Runs work beside the requests: it reports work that breaks, and starts work again that must go on.

Every task that nobody waits for is made here. `Background` is work that lives until it is stopped. If it breaks it
begins again after a pause; the pauses double up to half a minute, and are short again once the work has lasted a
minute. `Errands` are pieces of work that end by themselves; one that breaks does not begin again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LASTING_SECONDS = 60.0


class Background:
    """Work called `name`; `failure` is the message if it breaks."""

    def __init__(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], failure: str) -> None:
        """Run nothing before `start`."""
        self._name = name
        self._run = run
        self._failure = failure
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """True from `start` until the work has ended, pauses included."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Run until `stop`, or until the work ends by itself; no effect if it runs already."""
        if not self.is_running:
            self._task = asyncio.create_task(self._live(), name=self._name)

    def cancel(self) -> None:
        """End the work without waiting for its end."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """End the work and wait for its end; no effect if none runs."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _live(self) -> None:
        loop, pause_seconds = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while True:
            began_at = loop.time()
            try:
                return await self._run()
            except Exception as failure:
                if loop.time() - began_at >= LASTING_SECONDS:
                    pause_seconds = FIRST_PAUSE_SECONDS
                _report(f"{self._failure}; it begins again in {pause_seconds:g} s", failure)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


class Errands:
    """Pieces of work, each kept until it ends; `failure` is the message if one breaks."""

    def __init__(self, failure: str) -> None:
        """Start without errands."""
        self._failure = failure
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Begin `errand`, called `name`."""
        task = asyncio.create_task(errand, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End the errands that still run, and wait for their end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _report(f"{self._failure} ({task.get_name()})", failure)


def _report(message: str, failure: BaseException) -> None:
    """Report a failure as the event loop reports its own: the log gets an error with a traceback."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": failure})
