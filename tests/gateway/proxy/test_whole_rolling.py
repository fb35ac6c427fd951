"""Workers are replaced one after another under load: no request fails, no stream is cut, no more than one is away."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, cast

from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage, tenant
from workers_on_stage import EngineWorker

from gateway.config import Launch, Worker
from gateway.events import WorkerChanged
from gateway.watch.supervisor import LaunchStatus, WorkerPlan

RESTARTS = 20
LOAD_SECONDS = 1.5  # of a model, at each start
CLIENTS = 12
TENANTS = tuple(tenant(f"t{number}") for number in range(4))
PLAN = Plan(tenants=TENANTS)
NAMES = ("l0", "l1")


class Launcher:
    """A supervisor whose workers are engines in this loop; each start takes a while."""

    def __init__(self, on_status: Callable[[LaunchStatus], None]) -> None:
        self.api_key = "key"
        self.starts = 0
        self._changed = on_status
        self._engines: dict[str, EngineWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, plan: WorkerPlan) -> WorkerPlan:
        """Begin a life."""
        self.starts += 1
        self._do(self._start(name))
        return plan

    def stop(self, name: str) -> None:
        """End one."""
        self._do(self._stop(name))

    async def close(self) -> None:
        """End all."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        for engine in self._engines.values():
            await engine.stop()

    def _do(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, name: str) -> None:
        self._changed(LaunchStatus(name, "loading"))
        await asyncio.sleep(LOAD_SECONDS)
        engine = self._engines[name] = EngineWorker()
        await engine.start()
        self._changed(LaunchStatus(name, "ready", engine.url))

    async def _stop(self, name: str) -> None:
        self._changed(LaunchStatus(name, "draining"))
        await self._engines.pop(name).stop()
        self._changed(LaunchStatus(name, "stopped"))


def launch(scene: Stage, max_model_len: int) -> None:
    """Reload with two launched workers, whose context has this length."""
    config = PLAN.config(())
    workers = tuple(Worker(name=name, launch=Launch(), window=PLAN.window) for name in NAMES)
    pool = config.pools[0].model_copy(update={"workers": workers, "max_model_len": max_model_len})
    changed = config.model_copy(update={"pools": (pool,)})
    scene.reload(changed)


def serving(scene: Stage) -> int:
    """Return the workers that are given requests."""
    return sum(worker.state == "serving" for worker in scene.gateway.workers())


async def while_asked(scene: Stage, story: Callable[[], Awaitable[None]]) -> None:
    """Let clients ask on new connections until the story is over; each request is answered whole."""
    is_over = asyncio.Event()

    async def ask_on(number: int) -> None:
        for turn in count():
            body = chat(20, stream=bool(turn % 2), prompt=f"tea {number} {turn}")
            answer = await scene.ask(body, TENANTS[number % len(TENANTS)].name)
            assert answer.status == 200, answer.body
            assert answer.is_done or not turn % 2
            if is_over.is_set():
                return

    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(ask_on(number))
        await story()
        is_over.set()


@virtual_time
async def test_twenty_rolling_restarts_fail_no_request() -> None:
    """One of two workers serves at any time, and every request is answered whole at its first worker."""
    async with stage(plan=PLAN) as scene:
        launcher = Launcher(scene.gateway._launched._changed)
        scene.gateway._launched._supervisor = cast(Any, launcher)
        launch(scene, 2048)
        await scene.when(lambda: serving(scene) == len(NAMES))
        least = len(NAMES)

        async def restart() -> None:
            nonlocal least
            for number in range(RESTARTS // len(NAMES)):
                launch(scene, 1024 + number)
                while launcher.starts < (2 + number) * len(NAMES) or serving(scene) < len(NAMES):
                    await asyncio.sleep(0.1)
                    least = min(least, serving(scene))

        await while_asked(scene, restart)
        assert launcher.starts == RESTARTS + len(NAMES)
        assert least == len(NAMES) - 1
        assert len(scene.finished) > 10 * RESTARTS
        assert {event.outcome.value for event in scene.finished} == {"completed"}
        assert {event.attempts for event in scene.finished} == {1}
        assert not [event for event in scene.events if isinstance(event, WorkerChanged) and event.state == "down"]
