"""Does long work in steps, so that the event loop turns between them and no stream waits for the whole of it.

A step takes a few milliseconds. Of one kind of work only one piece is under way at a time: in a turn of the loop there
is at most one step of it, and only one piece holds what it makes meanwhile. The others wait, in their order.
"""

import asyncio
from collections.abc import Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


def at_once(steps: Generator[Any, None, Result]) -> Result:
    """Take every step of `steps` now, because nobody else waits."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


class LongWork:
    """Long work of one kind."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._is_free = asyncio.Lock()

    async def carry_out(self, steps: Generator[Any, None, Result]) -> Result:
        """Take every step of `steps`, each in a turn of its own; what is done with the result has its own turn too.

        Raises what a step raises. Cancelled: the steps that are left are not taken.
        """
        async with self._is_free:
            try:
                result = await _walk(steps)
            finally:
                steps.close()
            await asyncio.sleep(0)
            return result


async def _walk(steps: Generator[Any, None, Result]) -> Result:
    while True:
        await asyncio.sleep(0)
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
