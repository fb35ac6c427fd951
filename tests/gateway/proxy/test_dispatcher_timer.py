"""The dispatcher's one timer on the loop of production, which treats times that are past in its own way."""

import asyncio
from types import SimpleNamespace
from typing import cast

import uvloop
from uncompiled import needs_sources

from gateway.events import Event
from gateway.fairness import Admission
from gateway.proxy.dispatcher import Dispatcher
from gateway.watch.outages import Outages
from gateway.workers import Fleet


class _Nobody:
    def observe(self, event: Event) -> None:
        """Nothing happens."""


@needs_sources
def test_a_deadline_that_is_past_is_armed_once_and_met() -> None:
    """On a busy loop a deadline is over before it is armed: arming again is harmless, and it is carried out."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        advanced = asyncio.Event()
        past = loop.time() - 1
        admission = SimpleNamespace(
            pools=("a", "b", "c"),
            next_deadline=lambda: None if advanced.is_set() else past,
            dispatch=lambda _pool, _now: [],
            advance=lambda _now: advanced.set() or [],
        )
        fleet = Fleet()
        dispatcher = Dispatcher(cast(Admission, admission), fleet, _Nobody(), Outages(fleet))
        dispatcher.dispatch(("a", "b", "c"))
        await asyncio.wait_for(advanced.wait(), 60)
        dispatcher.close()

    uvloop.run(story())
