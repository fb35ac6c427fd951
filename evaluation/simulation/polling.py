"""Reads the simulated engines' metrics as the gateway does, and keeps what was read next to what was true."""

from collections.abc import Mapping
from typing import Protocol

from backend.engine.core import Capacity, Scheduler
from evaluation.simulation.gauges import GaugeFault, Gauges, Polling, Reading
from gateway.workers import EngineFacts, Fleet

_NO_ANSWER = "its metrics do not answer"


class Polled(Protocol):
    """An engine with gauges."""

    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def gauges(self) -> Gauges: ...


class Poller:
    """Tells the fleet what its engines say; `due` is when it does so next."""

    def __init__(self, polling: Polling, fleet: Fleet, engines: Mapping[str, Polled]) -> None:
        """The first reading is at once."""
        self._polling = polling
        self._fleet = fleet
        self._engines = engines
        self.due = 0.0
        self.readings: list[Reading] = []
        self._known: set[str] = set()

    def read(self, now: float) -> bool:
        """Read all engines; True where room may have appeared."""
        self.due = now + self._polling.seconds
        grown = [self._read(name, engine, now) for name, engine in self._engines.items()]
        return any(grown)

    def _read(self, name: str, engine: Polled, now: float) -> bool:
        truth = engine.gauges.truth(engine.scheduler, now, tells_totals=self._polling.tells_totals)
        fault = self._polling.fault if now >= self._polling.from_second else GaugeFault.NONE
        said = engine.gauges.say(truth, fault)
        has_grown = False
        if said is None:
            self._fleet.blind(name, _NO_ANSWER)
        else:
            self._learn(name, engine.scheduler.capacity)
            has_grown = self._fleet.observe(name, said, now)
        view = next(view for view in self._fleet.snapshot() if view.worker == name)
        gauges = engine.gauges
        usage = engine.scheduler.pool.usage
        self.readings.append(Reading(now, view, gauges.running, gauges.waiting, usage, gauges.preemptions))
        return has_grown

    def _learn(self, name: str, capacity: Capacity) -> None:
        """The facts stand on the same page: they are known once it was read."""
        if name not in self._known:
            self._known.add(name)
            self._fleet.learn(name, _facts(capacity))


def _facts(capacity: Capacity) -> EngineFacts:
    tokens = capacity.num_blocks * capacity.block_size
    return EngineFacts(tokens, capacity.block_size, tokens / capacity.max_model_len)
