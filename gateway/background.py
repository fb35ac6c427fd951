"""Work that runs beside the requests: what breaks is told of, what must go on begins again.

Every task that nobody waits for is made here. `Background` is one that lives until it is stopped: the pauses between
its lives double up to half a minute, and are short again after one that lasted a minute. `Errands` are pieces of work
that end by themselves; one that breaks is over.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LASTING_SECONDS = 60.0


class Background:
    """Work called `name`; `failure` is what is said where it breaks."""

    def __init__(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], failure: str) -> None:
        """Nothing runs before `start`."""
        self._name = name
        self._run = run
        self._failure = failure
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """True from `start` until the work has ended, pauses included."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Run until `stop`, or until the work ends by itself; nothing where it runs already."""
        if not self.is_running:
            self._task = asyncio.create_task(self._live(), name=self._name)

    def cancel(self) -> None:
        """End the work without waiting for its end."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """End the work and wait for its end; nothing where none runs."""
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
                _tell(f"{self._failure}; it begins again in {pause_seconds:g} s", failure)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


class Errands:
    """Pieces of work, each kept until it ends; `failure` is what is said where one breaks."""

    def __init__(self, failure: str) -> None:
        """None yet."""
        self._failure = failure
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Begin `errand`, called `name`."""
        task = asyncio.create_task(errand, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End those that still run, and wait for their end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _tell(f"{self._failure} ({task.get_name()})", failure)


def _tell(message: str, failure: BaseException) -> None:
    """Say it as the event loop says what nobody retrieved: the log has it as an error, with the place."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": failure})
