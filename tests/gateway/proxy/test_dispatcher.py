"""The dispatcher between the scheduler's decisions and the coroutines that wait for them."""

import asyncio

import pytest
from virtual_time import virtual_time

from gateway.events import Event, RequestDispatched, RequestQueued
from gateway.fairness import POLICIES, PREDICTORS, Admission, Linear, PoolSpec, Rules, Ticket, TicketState
from gateway.outcomes import Outcome
from gateway.proxy.dispatcher import Dispatcher, Refused
from gateway.usage import Usage
from gateway.watch.outages import Outages
from gateway.workers import Fleet, Signal, WindowSize, WorkerSpec


class Heard:
    """Every event, by its type and request."""

    def __init__(self) -> None:
        self.events: list[tuple[type[Event], str]] = []

    def observe(self, event: Event) -> None:
        """Write `event` down."""
        assert isinstance(event, RequestQueued | RequestDispatched)
        self.events.append((type(event), event.request_id))


class Stage:
    """A dispatcher before one worker that runs one request at a time; requests may wait for a minute."""

    def __init__(self, max_queued: int = 100) -> None:
        fleet = Fleet()
        self.heard = Heard()
        self.admission = Admission(Rules(lambda: POLICIES["vtc"](None), PREDICTORS["none"](None), max_queued), fleet)
        self.admission.configure_pool(PoolSpec("p", Linear()))
        fleet.configure(WorkerSpec("w", "p", "http://w", WindowSize(1, 0, 1000)))
        fleet.signal("w", Signal.PROBE_OK)
        self.dispatcher = Dispatcher(self.admission, fleet, self.heard, Outages(fleet))

    def ticket(self, name: str, *, reports_at_end: bool = False) -> Ticket:
        """A request of a tenant of its own."""
        ticket = Ticket(name, f"tenant of {name}", "key", "p")
        return ticket.sized(sequences=1, prompt_tokens=10, max_output_tokens=1000, reports_at_end=reports_at_end)


async def turn() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@virtual_time
async def test_a_request_that_has_room_does_not_wait_for_the_loop() -> None:
    """The request is granted within its own step, has events like any other, and nobody is left waiting."""
    stage = Stage()
    ticket = stage.ticket("a")
    with pytest.raises(StopIteration):
        stage.dispatcher.admit(ticket).send(None)
    assert ticket.state is TicketState.GRANTED
    assert stage.heard.events == [(RequestQueued, "a"), (RequestDispatched, "a")]
    assert list(stage.dispatcher.queued()) == []
    stage.dispatcher.settle(ticket, Usage(10, 0, 1), completed=True)
    stage.dispatcher.close()


@virtual_time
async def test_one_that_waits_is_woken_by_the_end_of_another() -> None:
    """Room that a settlement gives back goes on at once."""
    stage = Stage()
    first, second = stage.ticket("a"), stage.ticket("b")
    await stage.dispatcher.admit(first)
    waiting = asyncio.create_task(stage.dispatcher.admit(second))
    await turn()
    assert not waiting.done()
    assert [view.request_id for view in stage.dispatcher.queued()] == ["b"]
    stage.dispatcher.settle(first, Usage(10, 0, 1))
    await waiting
    stage.dispatcher.settle(second, None)
    assert stage.heard.events == [
        (RequestQueued, "a"),
        (RequestDispatched, "a"),
        (RequestQueued, "b"),
        (RequestDispatched, "b"),
    ]
    stage.dispatcher.close()


@virtual_time
async def test_a_silent_request_is_charged_as_it_runs_though_it_never_waited() -> None:
    """The timer for its running estimate is armed with its grant."""
    stage = Stage()
    ticket = stage.ticket("a", reports_at_end=True)
    await stage.dispatcher.admit(ticket)
    await asyncio.sleep(5)
    assert ticket.accrued_tokens > 0
    stage.dispatcher.settle(ticket, None)
    stage.dispatcher.close()


@virtual_time
async def test_one_that_waits_too_long_is_refused_after_others_have_come_and_gone() -> None:
    """The timer that was armed for it stands, though what happens meanwhile arms none."""
    stage = Stage()
    first, second = stage.ticket("a"), stage.ticket("b")
    await stage.dispatcher.admit(first)
    waiting = asyncio.create_task(stage.dispatcher.admit(second))
    await asyncio.sleep(1)
    stage.dispatcher.started(first)
    third = asyncio.create_task(stage.dispatcher.admit(stage.ticket("c")))
    await asyncio.sleep(1)
    third.cancel()
    before = asyncio.get_running_loop().time()
    with pytest.raises(Refused) as refused:
        await waiting
    assert refused.value.outcome is Outcome.QUEUE_TIMEOUT
    assert asyncio.get_running_loop().time() - before == pytest.approx(58)
    stage.dispatcher.settle(first, None)
    stage.dispatcher.close()


@virtual_time
async def test_one_that_finds_the_queue_full_is_refused_at_once() -> None:
    """The newest request of the longest queue is refused, even if it is the newcomer itself."""
    stage = Stage(max_queued=0)
    first = stage.ticket("a")
    await stage.dispatcher.admit(first)
    with pytest.raises(Refused) as refused:
        await stage.dispatcher.admit(stage.ticket("b"))
    assert refused.value.outcome is Outcome.PUSHED_OUT
    stage.dispatcher.settle(first, None)
    stage.dispatcher.close()
