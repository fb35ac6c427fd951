"""Pools without a worker: how long requests wait, what ends the wait, and what a load balancer sees."""

import asyncio
from collections.abc import Callable

import pytest
from virtual_time import virtual_time

from gateway.config import Pool, Timeouts
from gateway.events import WorkerChanged
from gateway.watch.outages import Outages, Readiness
from gateway.workers import Fleet, Signal, WindowSize, WorkerSpec

READY, WAITING, NO_WORKER = Readiness.READY, Readiness.WAITING, Readiness.NO_WORKER


def pool(seconds: float = 30.0, model: str = "p") -> Pool:
    """A pool whose outages are waited out for so long."""
    return Pool(model=model, engine_model=model, timeouts=Timeouts(outage_seconds=seconds))


class Stage:
    """A fleet of two workers of which nothing was heard yet, and its outages."""

    def __init__(self, *pools: Pool) -> None:
        self.fleet = Fleet()
        self.outages = Outages(self.fleet)
        for name in ("p/a", "p/b"):
            self.fleet.configure(WorkerSpec(name, "p", f"http://{name}", WindowSize()))
        self.outages.configure(pools or (pool(),))

    def signal(self, worker: str, signal: Signal) -> None:
        """Report what is seen of a worker, as the gateway does."""
        state = self.fleet.signal(worker, signal)
        if state is not None:
            self.outages.observe(WorkerChanged("p", worker, state, "seen"))

    def serve(self) -> None:
        """Both workers serve."""
        for name in ("p/a", "p/b"):
            for _ in range(40):
                self.signal(name, Signal.PROBE_OK)

    def lose(self) -> None:
        """Both workers are lost."""
        for name in ("p/a", "p/b"):
            self.signal(name, Signal.GONE)

    @property
    def seen(self) -> tuple[bool, Readiness]:
        """Whether requests may wait, and what readiness says."""
        return self.fleet.awaits("p"), self.outages.readiness("p")


def served(stage: Stage) -> Readiness:
    """The pool has served before it was lost."""
    stage.serve()
    assert stage.seen == (False, READY)
    stage.lose()
    return WAITING


def never_served(stage: Stage) -> Readiness:
    """Nothing answered since the start."""
    stage.signal("p/a", Signal.PROBE_FAILED)
    return NO_WORKER


@pytest.mark.parametrize("begin", [served, never_served])
@virtual_time
async def test_an_outage_is_awaited_for_its_time_and_then_no_longer(begin: Callable[[Stage], Readiness]) -> None:
    """To the second, whether the pool served before or not; only one that did counts as ready meanwhile."""
    stage = Stage()
    begun = begin(stage)
    assert stage.seen == (True, begun)
    await asyncio.sleep(29.9)
    stage.signal("p/b", Signal.PROBE_FAILED)  # nothing new: the time goes on
    assert stage.seen == (True, begun)
    await asyncio.sleep(0.2)
    assert stage.seen == (False, NO_WORKER)
    await asyncio.sleep(30)
    assert stage.outages.age_seconds("p") == pytest.approx(60.1)
    stage.serve()
    assert stage.seen == (False, READY)
    assert stage.outages.age_seconds("p") == 0
    stage.lose()
    assert stage.seen == (True, WAITING)
    stage.outages.close()


@virtual_time
async def test_one_worker_that_serves_is_no_outage() -> None:
    """While one worker serves, no request waits for the other one."""
    stage = Stage()
    stage.serve()
    stage.signal("p/a", Signal.GONE)
    assert stage.seen == (False, READY)


@virtual_time
async def test_a_replacement_is_awaited_as_long_as_it_takes() -> None:
    """Beyond the time of an outage, which counts from the loss where it fails; nothing stands in meanwhile."""
    stage = Stage()
    stage.serve()
    stage.outages.renew("p")
    for name in ("p/a", "p/b"):
        stage.fleet.drain(name)
    assert stage.fleet.awaits("p")  # before anything is told of the worker that is emptied
    await asyncio.sleep(100)
    assert stage.fleet.awaits("p")
    assert stage.outages.serves("p")
    stage.outages.observe(WorkerChanged("p", "p/a", "draining", ""))
    await asyncio.sleep(100)
    assert stage.seen == (True, WAITING)
    stage.outages.renew("")
    assert stage.seen == (False, NO_WORKER)
    assert not stage.outages.serves("p")


@virtual_time
async def test_another_time_counts_from_the_beginning_of_the_outage() -> None:
    """A reload lengthens, shortens or ends the wait; a removed pool leaves no timer."""
    stage = Stage()
    await asyncio.sleep(40)
    stage.outages.configure([pool(60)])
    assert stage.fleet.awaits("p")
    stage.outages.configure([pool(30)])
    assert not stage.fleet.awaits("p")
    stage.outages.configure([pool(41)])
    await asyncio.sleep(2)
    assert not stage.fleet.awaits("p")
    stage.outages.configure([pool(60), pool(60, "q")])
    stage.outages.configure([pool(60)])
    assert (stage.fleet.awaits("p"), stage.fleet.awaits("q")) == (True, False)
    stage.outages.close()


@virtual_time
async def test_no_time_is_no_wait() -> None:
    """`outage_seconds: 0` refuses at once, at the start and after a loss."""
    stage = Stage(pool(0))
    assert stage.seen == (False, NO_WORKER)
    stage.serve()
    stage.lose()
    assert stage.seen == (False, NO_WORKER)
