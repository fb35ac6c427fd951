"""Every worker of one machine: started and stopped by name, ended together.

A stopped worker that is started again meanwhile starts when its last process is gone. One that has stopped is forgotten
unless it is wanted again.
"""

import asyncio
from random import Random

from backend.supervisor.life import State
from backend.supervisor.machine import Machine
from backend.supervisor.plan import WorkerPlan
from backend.supervisor.worker import Pace, Status, SupervisedWorker, WorkerCallbacks

_STANDARD_PACE = Pace()


class Supervisor:
    """The workers by name."""

    def __init__(
        self, machine: Machine, callbacks: WorkerCallbacks, pace: Pace = _STANDARD_PACE, random: Random | None = None
    ) -> None:
        """No workers yet; `callbacks` hears of each."""
        self._machine = machine
        self._callbacks = WorkerCallbacks(self._changed, callbacks.wrote)
        self._outer_callbacks = callbacks
        self._pace = pace
        self._random = random or Random()
        self._workers: dict[str, SupervisedWorker] = {}
        self._wanted_again: dict[str, WorkerPlan] = {}

    def start(self, plan: WorkerPlan) -> None:
        """Run a worker by `plan`, after its present process where one is being ended."""
        worker = self._workers.get(plan.name)
        if worker is None:
            worker = self._workers[plan.name] = SupervisedWorker(
                plan, self._machine, self._callbacks, self._pace, self._random
            )
        if worker.state is State.DRAINING:
            self._wanted_again[plan.name] = plan
        worker.start(plan)

    def stop(self, name: str) -> None:
        """End a worker; one that is not known counts as ended."""
        self._wanted_again.pop(name, None)
        if name in self._workers:
            self._workers[name].stop()

    def restart(self, name: str, reason: str) -> None:
        """End a worker that serves, by force if needed, and start it again."""
        if name in self._workers:
            self._workers[name].restart(reason)

    async def close(self) -> None:
        """End every worker and wait until nothing of any runs."""
        self._wanted_again.clear()
        workers = list(self._workers.values())
        for worker in workers:
            worker.stop()
        await asyncio.gather(*(worker.ended() for worker in workers))

    def statuses(self) -> tuple[Status, ...]:
        """Every worker, now."""
        return tuple(worker.status for worker in self._workers.values())

    def _changed(self, status: Status) -> None:
        self._outer_callbacks.changed(status)
        if status.state == State.STOPPED.value:
            # Not from within the worker's own change: its task has a last step to do.
            asyncio.get_running_loop().call_soon(self._after, status.worker)

    def _after(self, name: str) -> None:
        """A worker has stopped."""
        worker = self._workers.get(name)
        if worker is None or worker.state is not State.STOPPED:
            return
        plan = self._wanted_again.pop(name, None)
        if plan is None:
            del self._workers[name]
        else:
            worker.start(plan)
