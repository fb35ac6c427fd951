"""What one worker's engine and we have done from one reading of its metrics to the next."""

from dataclasses import dataclass

from gateway.workers.sample import EngineSample


@dataclass(frozen=True, slots=True)
class Pulse:
    """One reading, in sequences but for the total.

    `total` is of the engine's steps, or of its tokens where steps are not told; `ended` is what of ours has ended ever.
    """

    total: float | None = None
    in_flight: int = 0
    were_in_flight: int = 0  # by the reading before
    ended: int = 0
    ended_per_step: float = 0.0  # 0 where steps are not told
    is_still: bool = False  # no step since the reading before: it is the same once more
    has_restarted: bool = False  # a total that shrinks is one that began again

    def next(self, sample: EngineSample, in_flight: int, ended: int) -> "Pulse":
        """The reading after this one."""
        total = sample.output_tokens if sample.steps is None else sample.steps
        made = 0.0 if total is None or self.total is None else total - self.total
        has_steps = sample.steps is not None and self.total is not None
        per_step = (ended - self.ended) / made if has_steps and made > 0 else 0.0
        return Pulse(total, in_flight, self.in_flight, ended, per_step, has_steps and not made, made < 0)

    def ran(self, running: int) -> int:
        """Sequences that a step ran which left `running`: twice as many as on average may have ended with it."""
        return running + round(2 * self.ended_per_step)
