"""How long a step takes: a linear model of what the step computes and reads.

seconds = step + prefill * prompt tokens computed + sequence * sequences decoding + context * KV tokens they attend to.
The step term is the weights' read, prefill is compute-bound, context is the KV cache's read. Coefficients come from a
profile; which machine they describe is the profile's business.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step computes, in the quantities that cost time."""

    prefill_tokens: int
    decode_sequences: int
    context_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens that pass through the model in this step."""
        return self.prefill_tokens + self.decode_sequences


@dataclass(frozen=True, slots=True)
class StepCost:
    """Coefficients in seconds."""

    step_seconds: float
    prefill_token_seconds: float
    decode_sequence_seconds: float
    context_token_seconds: float

    def seconds(self, batch: Batch) -> float:
        """Duration of a step that computes `batch`."""
        return (
            self.step_seconds
            + self.prefill_token_seconds * batch.prefill_tokens
            + self.decode_sequence_seconds * batch.decode_sequences
            + self.context_token_seconds * batch.context_tokens
        )
