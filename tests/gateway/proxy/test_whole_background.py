"""Each task beside the requests breaks once: the log says so, and the task begins again."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from virtual_time import expect_in_log, virtual_time
from whole_gateway import Plan, chat, stage
from workers_on_stage import CPU_TINY, EngineWorker

from gateway.background import FIRST_PAUSE_SECONDS
from gateway.config import Launch, Pool, Timeouts, Window, Worker
from gateway.events import WindowDegraded
from gateway.watch.launched import LaunchContext, LaunchedWorkers
from gateway.watch.poller import BLIND_PERIOD_SECONDS, FAILURES_TO_BLIND
from gateway.watch.supervisor import LaunchStatus, SupervisorCallbacks, SupervisorProcess, WorkerPlan
from gateway.workers import Fleet

PLAN = Plan(window=Window(), pool={"timeouts": Timeouts(connect_seconds=2, first_byte_seconds=120, stall_seconds=30)})
WORKER = "tiny/w0"
OF_EVERY_WORKER = (
    f"the readings of {WORKER} broke; it begins again in {FIRST_PAUSE_SECONDS:g} s",
    f"the watch on the workers' progress broke; it begins again in {FIRST_PAUSE_SECONDS:g} s",
    f"a worker's probe broke (probe of {WORKER})",
)


def expect_failure(reported: str) -> None:
    """The running story breaks some work, which the log tells as it does outside tests."""
    asyncio.get_running_loop().set_exception_handler(None)
    expect_in_log(f"{reported}; it begins again in ")


def failing_once(method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, but for the first time that it is called."""
    failures: list[Exception] = []

    def call(*arguments: Any) -> Any:
        if failures:
            return method(*arguments)
        failures.append(RuntimeError("a mistake of ours"))
        raise failures[0]

    return call


@virtual_time
async def test_what_looks_at_the_workers_begins_again() -> None:
    """Probes, readings of metrics and the watch on progress meet a worker without endpoint: each tells it and goes on.

    Only the watch opens the circuit of a frozen engine, only a probe that succeeds lets it be tried.
    """
    worker = EngineWorker(CPU_TINY)
    asyncio.get_running_loop().set_exception_handler(None)
    for reported in OF_EVERY_WORKER:
        expect_in_log(reported)
    async with stage(worker, plan=PLAN) as scene:
        asking = [scene.asking(chat(1900)) for _ in range(4)]
        await asyncio.sleep(1)
        endpoints = scene.endpoints._endpoints
        endpoint = endpoints.pop(WORKER)
        await asyncio.sleep(1)  # the pause between two probes, the longest
        endpoints[WORKER] = endpoint
        await asyncio.sleep(1)
        pages = len(worker.pages)
        await asyncio.sleep(1)
        assert len(worker.pages) > pages, "its metrics are read"
        worker.engine.freeze()
        await asyncio.sleep(8)
        worker.engine.thaw()
        await asyncio.gather(*asking)
        assert [change.state for change in scene.changes] == ["serving", "down", "on_trial", "serving"]
        log = scene.end_log()
    assert all(reported in log for reported in OF_EVERY_WORKER)


@virtual_time
async def test_a_reading_that_breaks_counts_as_one_that_brought_nothing() -> None:
    """After as many as that takes the window is the safe one; the first that is whole ends it."""
    worker = EngineWorker(CPU_TINY)
    expect_failure(f"the readings of {WORKER} broke")
    with pytest.MonkeyPatch.context() as patch:
        async with stage(worker, plan=PLAN) as scene:
            asking = [scene.asking(chat(1500)) for _ in range(4)]
            await asyncio.sleep(2)
            patch.setattr("gateway.watch.poller.read_figures", lambda _: 1 / 0)
            await scene.when(lambda: any(isinstance(event, WindowDegraded) for event in scene.events))
            assert scene.end_log().count(f"the readings of {WORKER} broke") == FAILURES_TO_BLIND
            patch.undo()
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**FAILURES_TO_BLIND + 2 * BLIND_PERIOD_SECONDS)
            reported = [event.reason for event in scene.events if isinstance(event, WindowDegraded)]
            assert reported == ["a reading of its metrics broke", ""]
            await asyncio.gather(*asking)


@virtual_time
async def test_ends_behind_slow_clients_are_looked_for_again() -> None:
    """A look that breaks is reported; a later one sees the answer's end, and its room is free before it is taken."""
    expect_failure("nobody looks for ends behind slow clients")
    async with stage(plan=Plan(listen={"write_stall_seconds": 3000})) as scene:
        remainders = scene.gateway._remainders
        remainders._look = failing_once(remainders._look)
        client = await scene.open(chat(600, logprobs=True, top_logprobs=20), receive_bytes=4096)
        await asyncio.sleep(12)  # the engine has finished in four
        assert (scene.in_flight, scene.finished) == (0, [])
        assert (await client.read()).is_done
        await client.close()


@virtual_time
async def test_the_supervisors_link_begins_again() -> None:
    """If no process can be started, that is reported, and the next process gets every order."""
    expect_failure("the link to the supervisor broke")
    output = asyncio.StreamReader()
    orders: list[bytes] = []

    async def wait() -> int:
        return 0

    async def start(*_: Any, **__: Any) -> Any:
        starts.append(1)
        if len(starts) == 1:
            raise OSError("no more processes")
        stdin = SimpleNamespace(write=orders.append, is_closing=lambda: False, close=output.feed_eof)
        return SimpleNamespace(stdin=stdin, stdout=output, wait=wait)

    starts: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.watch.supervisor.asyncio.create_subprocess_exec", start)
        supervisor = SupervisorProcess(SupervisorCallbacks(lambda _: None, lambda *_: None, lambda _: None))
        supervisor.start("w", {"name": "w"})
        await asyncio.sleep(2 * FIRST_PAUSE_SECONDS)
        assert orders == [b'{"start":{"name":"w"}}\n']
        await supervisor.close()


class ObedientSupervisor:
    """Starts and ends workers at once, and keeps the orders."""

    def __init__(self, reported: Callable[[LaunchStatus], None]) -> None:
        self.api_key = "key"
        self.orders: list[str] = []
        self._changed = reported

    def start(self, name: str, plan: WorkerPlan) -> WorkerPlan:
        """A worker by `plan` serves."""
        self.orders.append(f"start {name} {plan['max_model_len']}")
        asyncio.get_running_loop().call_soon(self._changed, LaunchStatus(name, "ready", "http://127.0.0.1:1"))
        return plan

    def stop(self, name: str) -> None:
        """The worker is gone."""
        self.orders.append(f"stop {name}")
        self._changed(LaunchStatus(name, "stopped"))

    async def close(self) -> None:
        """Nothing is left to end."""


def launched(fault: str) -> tuple[LaunchedWorkers, ObedientSupervisor]:
    """Launched workers without a stage; the context's `fault` breaks once."""
    context = SimpleNamespace(
        fleet=Fleet(),
        is_visited=lambda _: False,
        enlist=lambda *_: None,
        renew=lambda _: None,
        emit=lambda _: None,
    )
    setattr(context, fault, failing_once(getattr(context, fault)))
    workers = LaunchedWorkers(cast(LaunchContext, context))
    supervisor = ObedientSupervisor(workers._changed)
    workers._supervisor = cast(Any, supervisor)
    return workers, supervisor


def pool(max_model_len: int) -> Pool:
    """A pool of one launched worker."""
    worker = Worker(name="w0", launch=Launch())
    return Pool(model="tiny", engine_model="tiny", max_model_len=max_model_len, workers=(worker,))


@virtual_time
@pytest.mark.parametrize("fault", ["renew", "is_visited"])
async def test_a_rolling_restart_that_breaks_off_is_taken_up_again(fault: str) -> None:
    """The worker is replaced in the next turn, once."""
    expect_failure("the rolling restart broke off")
    workers, supervisor = launched(fault)
    workers.configure([pool(1024)])
    workers.configure([pool(2048)])
    await asyncio.sleep(2 * FIRST_PAUSE_SECONDS)
    assert supervisor.orders == [f"start {WORKER} 1024", f"stop {WORKER}", f"start {WORKER} 2048"]
    await workers.stop()


@virtual_time
async def test_the_end_of_a_removed_worker_that_breaks_off_is_taken_up_again() -> None:
    """Its process does not stay for ever."""
    expect_failure(f"the end of worker {WORKER} broke off")
    workers, supervisor = launched("is_visited")
    workers.configure([pool(1024)])
    workers.configure([])
    await asyncio.sleep(2 * FIRST_PAUSE_SECONDS)
    assert supervisor.orders == [f"start {WORKER} 1024", f"stop {WORKER}"]
    await workers.stop()
