"""Work that runs beside the requests until it is stopped: one that breaks is told of and begins again.

The pauses between its lives double up to half a minute, and are short again after one that lasted a minute.
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

    def start(self) -> None:
        """Run until `stop`, or until the work ends by itself; nothing where it runs already."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._live(), name=self._name)

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
                message = f"{self._failure}; it begins again in {pause_seconds:g} s"
                loop.call_exception_handler({"message": message, "exception": failure})
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
