"""What a run leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.requests import Served
from evaluation.simulation.gauges import Reading
from evaluation.simulation.spread import Spread
from evaluation.simulation.timeline import Timeline


@dataclass(slots=True)
class EngineTally:
    """What one engine has done: `sequence_steps` sums the batch over the decode steps."""

    steps: int = 0
    sequence_steps: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    busy_seconds: float = 0.0

    @property
    def mean_batch(self) -> float:
        """Sequences that decode together, averaged over the steps."""
        return self.sequence_steps / self.steps if self.steps else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run: `served` in the order of the requests given, `ended_at` the virtual second of the last event."""

    served: Sequence[Served]
    ended_at: float
    spread: Spread
    engines: Sequence[EngineTally]
    timeline: Timeline
    charged: dict[str, float]
    """Cost units that the scheduler charged each of its tenants, all settled."""
    readings: Sequence[Reading] = ()
