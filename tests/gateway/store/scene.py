"""A client of a real store, as the gateway has it, in one event loop of the kind that serves."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop
from real_stores import KINDS

from gateway.replicas.call import Call
from gateway.replicas.script import Script
from gateway.store.client import StoreClient
from gateway.store.failures import StoreFailed

STUCK_SECONDS = 60.0
POOL = "tiny"
ECHO = Script("return ARGV[1]")
SLOW_ECHO = Script("""
local function now() local t = redis.call('TIME'); return t[1] * 1000000 + t[2] end
local began = now()
repeat until now() > began + 20000
return ARGV[1]
""")
COUNT = Script("return redis.call('INCR', KEYS[1])")

on_both = pytest.mark.parametrize("kind", KINDS)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `story`; afterwards no task of it is left."""

    async def whole() -> None:
        async with asyncio.timeout(STUCK_SECONDS):
            await story()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    uvloop.run(whole())


def first_call(store: str, name: str = "a", number: int = 1) -> Call:
    """The call with which a replica registers at the server with the run id `store`."""
    return Call(
        name=name,
        boot=f"boot of {name}",
        incarnation=0,
        number=number,
        settings="settings",
        lease=2000,
        store=store,
        new_generation="generation",
        is_registering=True,
    )


async def until(holds: Callable[[], object]) -> None:
    """Wait until `holds()`."""
    while not holds():  # noqa: ASYNC110  # what it waits for happens in other processes
        await asyncio.sleep(0.001)


async def until_connected(client: StoreClient) -> str:
    """Ask for the run id until there is one, as the owner does."""
    while True:
        try:
            return await client.connected()
        except StoreFailed:
            await asyncio.sleep(0.01)


async def failure_of(doing: Awaitable[Any]) -> str:
    """The text of the `StoreFailed` that `doing` ends with."""
    with pytest.raises(StoreFailed) as caught:
        await doing
    text = str(caught.value)
    assert "\n" not in text
    return text
