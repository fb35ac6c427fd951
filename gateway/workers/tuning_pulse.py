"""Compares one reading of a worker's metrics with the reading before: what the engine and we have done meanwhile."""

from dataclasses import dataclass

from gateway.workers.sample import EngineSample


@dataclass(frozen=True, slots=True)
class Pulse:
    """One reading and what happened since the one before.

    `total` counts the engine's steps, or its tokens if it does not report steps. All other numbers count sequences;
    `ended` counts all of ours that have ever ended.
    """

    total: float | None = None
    in_flight: int = 0
    were_in_flight: int = 0  # at the reading before
    ended: int = 0
    ended_per_step: float = 0.0  # 0 if the engine does not report steps
    is_still: bool = False  # the engine made no step since the reading before
    has_restarted: bool = False  # the total shrank, so the engine began again

    def next(self, sample: EngineSample, in_flight: int, ended: int, own_part: float = 1.0) -> "Pulse":
        """The comparison of the next reading, `sample`, with this one.

        `own_part` of what is in flight is ours; other replicas' sequences are taken to end as often.
        """
        total = sample.output_tokens if sample.steps is None else sample.steps
        made = 0.0 if total is None or self.total is None else total - self.total
        has_steps = sample.steps is not None and self.total is not None
        per_step = (ended - self.ended) / made / own_part if has_steps and made > 0 else 0.0
        return Pulse(total, in_flight, self.in_flight, ended, per_step, has_steps and not made, made < 0)

    def ran(self, running: int) -> int:
        """How many sequences a step ran if `running` are left; up to twice the average may have ended with it."""
        return running + round(2 * self.ended_per_step)
