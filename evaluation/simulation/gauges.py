"""What simulated engines say of themselves to the gateway's window, true or false, and what was true at that time.

As with vLLM the gauges are those of the last step's end: `waiting` is what the step did not admit, `running` no longer
has what it finished, and a preemption is counted when its request next gets a token. They are read as the gateway does,
and what was read is kept next to what was true.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from backend.engine.core import EngineCapacity, Scheduler, Sequence
from gateway.workers import EngineFacts, EngineSample, Fleet, WorkerSnapshot


class GaugeFault(Enum):
    """How an engine's metrics are wrong."""

    NONE = "none"
    DEAD = "dead"  # no answer
    STALE = "stale"  # the same answer again and again
    SLOW = "slow"  # an answer that is one reading old
    IDLE = "idle"  # nothing runs, nothing waits
    CROWDED = "crowded"  # a thousand run
    QUEUED = "queued"  # a thousand wait
    NO_NUMBER = "no number"
    ERRATIC = "erratic"  # anything up to fifty


@dataclass(frozen=True, slots=True)
class Polling:
    """How the engines are read: every so often, with which fault from which second on."""

    seconds: float = 0.5
    fault: GaugeFault = GaugeFault.NONE
    from_second: float = 0.0
    tells_totals: bool = True


@dataclass(frozen=True, slots=True)
class GaugeReading:
    """One moment of one worker: its window as the gateway had it after a reading, and the engine as it truly was."""

    at: float
    window: WorkerSnapshot
    running: int
    waiting: int
    kv_usage: float
    preemptions: int


class Gauges:
    """The metrics of one engine."""

    __slots__ = ("_counted", "_history", "_noise", "preemptions", "running", "waiting")

    def __init__(self) -> None:
        """Of an engine that has done nothing."""
        self.running = self.waiting = self.preemptions = 0
        self._counted: dict[Sequence, int] = {}
        self._history: list[EngineSample] = []
        self._noise = 1

    def began(self, scheduler: Scheduler) -> None:
        """A step was planned."""
        self.waiting = len(scheduler.waiting)

    def ended(self, scheduler: Scheduler, generated: list[Sequence]) -> None:
        """A step has ended with a token for each of `generated`."""
        self.running = len(scheduler.running)
        for sequence in generated:
            if sequence.preemptions:
                self.preemptions += sequence.preemptions - self._counted.get(sequence, 0)
                self._counted[sequence] = sequence.preemptions

    def truth(self, scheduler: Scheduler, now: float, *, tells_totals: bool = True) -> EngineSample:
        """A reading asked for at `now`."""
        sample = EngineSample(now, self.running, self.waiting, scheduler.pool.usage)
        if not tells_totals:
            return sample
        tally = scheduler.tally
        return replace(
            sample,
            preemptions=self.preemptions,
            steps=tally.steps,
            step_tokens=tally.computed_tokens,
            output_tokens=tally.generated_tokens,
        )

    def say(self, truth: EngineSample, fault: GaugeFault) -> EngineSample | None:
        """What is read instead of `truth`; None: nothing."""
        self._history = [*self._history[-1:], truth] if fault is not GaugeFault.STALE else self._history or [truth]
        self._noise = (self._noise * 1103515245 + 12345) % 2**31
        return _SAYINGS[fault](truth, self._history[0], self._noise >> 8)


_Saying = Callable[[EngineSample, EngineSample, int], EngineSample | None]
_SAYINGS: Mapping[GaugeFault, _Saying] = MappingProxyType(
    {
        GaugeFault.NONE: lambda truth, old, noise: truth,
        GaugeFault.DEAD: lambda truth, old, noise: None,
        GaugeFault.STALE: lambda truth, old, noise: replace(old, asked_at=truth.asked_at),
        GaugeFault.SLOW: lambda truth, old, noise: old,
        GaugeFault.IDLE: lambda truth, old, noise: replace(truth, running=0, waiting=0, kv_usage=0.0),
        GaugeFault.CROWDED: lambda truth, old, noise: replace(truth, running=1000, waiting=0),
        GaugeFault.QUEUED: lambda truth, old, noise: replace(truth, waiting=1000),
        GaugeFault.NO_NUMBER: lambda truth, old, noise: replace(truth, running=float("nan")),
        GaugeFault.ERRATIC: lambda truth, old, noise: replace(truth, running=noise % 50, waiting=noise // 50 % 50),
    }
)


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
        self.readings: list[GaugeReading] = []
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
        self.readings.append(GaugeReading(now, view, gauges.running, gauges.waiting, usage, gauges.preemptions))
        return has_grown

    def _learn(self, name: str, capacity: EngineCapacity) -> None:
        """The facts stand on the same page: they are known once it was read."""
        if name not in self._known:
            self._known.add(name)
            self._fleet.learn(name, _facts(capacity))


def _facts(capacity: EngineCapacity) -> EngineFacts:
    tokens = capacity.num_blocks * capacity.block_size
    return EngineFacts(tokens, capacity.block_size, tokens / capacity.max_model_len)
