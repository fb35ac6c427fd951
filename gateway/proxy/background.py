"""One task that runs beside the requests until it is stopped; that it ended by itself is told at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """A task called `name`; `failure` is what is said where it ends by an exception."""

    def __init__(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], failure: str) -> None:
        """Nothing runs before `start`."""
        self._name = name
        self._run = run
        self._failure = failure
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run until `stop`; nothing where it runs already."""
        if self._task is not None:
            return
        self._task = asyncio.create_task(self._run(), name=self._name)
        self._task.add_done_callback(self._report)

    async def stop(self) -> None:
        """End the task and wait for its end; nothing where none runs."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": self._failure, "exception": failure})
