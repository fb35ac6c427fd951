"""What simulated engines say of themselves to the gateway's window, and what was true at that time.

As with vLLM the gauges are those of the last step's end: `waiting` is what the step did not admit, `running` no longer
has what it finished, and a preemption is counted when its request next gets a token. They are read as the gateway does,
and what was read is kept next to what was true.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backend.engine.core import EngineCapacity, Scheduler, Sequence, Step, StepCost
from gateway.workers import EngineFacts, EngineSample, Fleet, WorkerSnapshot


def honest(sample: EngineSample) -> EngineSample | None:
    """An engine whose metrics are right."""
    return sample


def dead(sample: EngineSample) -> EngineSample | None:
    """An engine whose metrics do not answer."""
    return None


@dataclass(frozen=True, slots=True)
class Polling:
    """How the engines are read: every so often; `say` makes of the truth what they answer, None for no answer."""

    seconds: float = 0.5
    say: Callable[[EngineSample], EngineSample | None] = honest


@dataclass(frozen=True, slots=True)
class GaugeReading:
    """One moment of one worker: its window as the gateway had it after a reading, and the engine as it truly was."""

    at: float
    window: WorkerSnapshot
    truth: EngineSample


class GaugedScheduler(Scheduler):
    """The embedded engine's scheduler with the metrics of its engine."""

    def __init__(self, capacity: EngineCapacity, cost: StepCost) -> None:
        super().__init__(capacity, cost)
        self._running = self._waiting = self._preemptions = 0
        self._counted: dict[Sequence, int] = {}

    def begin(self, now: float) -> Step | None:
        """As the scheduler does; what it did not admit waits."""
        step = super().begin(now)
        self._waiting = len(self.waiting)
        return step

    def complete(self, step: Step, now: float) -> list[Sequence]:
        """As the scheduler does; counts what runs on, and preemptions."""
        generated = super().complete(step, now)
        self._running = len(self.running)
        for sequence in generated:
            if sequence.preemptions:
                self._preemptions += sequence.preemptions - self._counted.get(sequence, 0)
                self._counted[sequence] = sequence.preemptions
        return generated

    def sample(self, now: float) -> EngineSample:
        """A true reading, asked for at `now`."""
        return EngineSample(
            now,
            self._running,
            self._waiting,
            self.pool.usage,
            preemptions=self._preemptions,
            steps=self.tally.steps,
            step_tokens=self.tally.computed_tokens,
            output_tokens=self.tally.generated_tokens,
        )


class Poller:
    """Tells the fleet what its engines say; `due` is when it does so next."""

    def __init__(self, polling: Polling, fleet: Fleet) -> None:
        """The first reading is at once."""
        self._polling = polling
        self._fleet = fleet
        self.due = 0.0
        self.readings: list[GaugeReading] = []
        self._known: set[str] = set()

    def read(self, engines: Mapping[str, GaugedScheduler], now: float) -> bool:
        """Read all engines; True where room may have appeared."""
        self.due = now + self._polling.seconds
        grown = [self._read(name, engine, now) for name, engine in engines.items()]
        return any(grown)

    def _read(self, name: str, engine: GaugedScheduler, now: float) -> bool:
        truth = engine.sample(now)
        said = self._polling.say(truth)
        has_grown = False
        if said is None:
            self._fleet.blind(name, "its metrics do not answer")
        else:
            self._learn(name, engine.capacity)
            has_grown = self._fleet.observe(name, said, now)
        view = next(view for view in self._fleet.snapshot() if view.worker == name)
        self.readings.append(GaugeReading(now, view, truth))
        return has_grown

    def _learn(self, name: str, capacity: EngineCapacity) -> None:
        """The facts stand on the same page: they are known once it was read."""
        if name not in self._known:
            self._known.add(name)
            tokens = capacity.num_blocks * capacity.block_size
            self._fleet.learn(name, EngineFacts(tokens, capacity.block_size, tokens / capacity.max_model_len))
