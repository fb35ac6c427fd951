"""Engines that batch as vLLM does, behind the gateway's own window: lengths unknown, prompts in chunks, preemption.

The window (`gateway.workers.Fleet`) decides what is with an engine; the engine's own queue is as short as the slack.
Each step runs through the embedded engine's scheduler (`backend.engine.core`).
"""

from functools import partial

from evaluation.simulation.gauges import GaugedScheduler, Poller
from evaluation.simulation.settings import Settings
from evaluation.simulation.simulated_gateway import POOL
from evaluation.simulation.workers import NEVER, Workers
from gateway.workers import Fleet, Signal, WorkerSpec


class Batching(Workers[GaugedScheduler]):
    """All workers of this kind, each behind its window."""

    def __init__(self, settings: Settings) -> None:
        self._fleet = Fleet()
        super().__init__(settings, self._fleet, partial(GaugedScheduler, settings.batching, settings.step_cost))
        for name in self.engines:
            self._fleet.configure(WorkerSpec(name, POOL, "", settings.window))
            self._fleet.signal(name, Signal.PROBE_OK)
        outage = settings.outage
        self._turning_points = [] if outage is None else [outage.at + outage.seconds, outage.at]
        self._poller = None if settings.polling is None else Poller(settings.polling, self._fleet)
        self.readings = () if self._poller is None else self._poller.readings

    @property
    def due(self) -> float:
        """When the next step ends, or the engines that work are to be read, or one dies or returns."""
        due = super().due
        due = due if self._poller is None or due == NEVER else min(due, self._poller.due)
        return min(due, self._turning_points[-1]) if self._turning_points else due

    def proceed(self, now: float) -> None:
        """What is due happens: steps end, a worker dies or returns, engines are read, the next steps begin."""
        self.end_steps(now)
        if self._turning_points and self._turning_points[-1] == now:
            self._turn(now)
        if self._poller is not None and self._poller.due <= now:
            schedulers = {name: engine.scheduler for name, engine in self.engines.items()}
            if self._poller.read(schedulers, now):
                self.gateway.dispatch(now)
        self.begin(now)

    def _turn(self, now: float) -> None:
        """The first worker dies, or is there again and has answered its trial."""
        self._turning_points.pop()
        name, engine = next(iter(self.engines.items()))
        if self._turning_points:
            self._fleet.signal(name, Signal.GONE)
            for job in engine.crash():
                self.gateway.lose(job, name, now)
        else:
            self._fleet.signal(name, Signal.PROBE_OK)
            self._fleet.signal(name, Signal.ANSWERED)
            self.gateway.dispatch(now)
