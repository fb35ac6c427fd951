"""The window of one worker: what may be in flight there, in two dimensions.

Sequences: the engine's batch (`max_num_seqs`) plus a slack of one or two, so that a slot is refilled without a round
trip but the engine's own first-come queue stays as short as the slack. Prompt tokens dispatched without a first token:
about one step's budget, so that a light tenant's prompt does not wait behind several long ones.
The window is the fairness bound's M: nothing that has left the gateway can be reordered any more.
The express lane is room for a few sequences beyond it, for those who have nothing in flight: the engine runs that many
more. Nobody is counted in the lane: it is free again as soon as so many requests, whosever, have ended.
"""

from dataclasses import dataclass

UNTUNED_SEQUENCES = 16
UNTUNED_PREFILL_TOKENS = 2048
OPEN_SEQUENCES, OPEN_PREFILL_TOKENS = 1024, 1_000_000_000


@dataclass(frozen=True, slots=True)
class WindowSize:
    """Size of a window: `sequences` the engine runs at once, `slack` more, `prefill_tokens` not yet prefilled.

    `express` sequences beyond that are for the express lane. None leaves a size to be found out. Nothing is found out
    where it `is_open`: the engine orders what waits in it, so neither its queue nor its memory holds anything back.
    """

    sequences: int | None = 16
    slack: int = 1
    prefill_tokens: int | None = 2048
    express: int = 0
    is_open: bool = False


def open_window(sequences: int | None, slack: int, prefill_tokens: int | None) -> WindowSize:
    """The window before an engine that orders its own queue; what is None is not limited."""
    return WindowSize(sequences or OPEN_SEQUENCES, slack, prefill_tokens or OPEN_PREFILL_TOKENS, is_open=True)


class Window:
    """Room at one worker; what is taken is given back exactly once."""

    __slots__ = (
        "_size",
        "max_prefill_tokens",
        "max_sequences",
        "prefill_tokens_in_flight",
        "prefills_in_flight",
        "sequences_in_flight",
    )

    def __init__(self, size: WindowSize) -> None:
        """An empty window of `size`."""
        self.resize(size)
        self.sequences_in_flight = 0
        self.prefill_tokens_in_flight = 0
        self.prefills_in_flight = 0

    def resize(self, size: WindowSize) -> None:
        """Take over a new size; what is in flight stays, room appears or shrinks at once."""
        self._size = size
        self.max_sequences = (size.sequences or UNTUNED_SEQUENCES) + size.slack
        self.max_prefill_tokens = size.prefill_tokens or UNTUNED_PREFILL_TOKENS

    def limit(self, max_sequences: int, max_prefill_tokens: int) -> None:
        """Take over limits that were found out."""
        self.max_sequences = max_sequences
        self.max_prefill_tokens = max_prefill_tokens

    @property
    def has_express(self) -> bool:
        """True where the engine runs more than the window."""
        return self._size.express > 0

    @property
    def load(self) -> float:
        """Part of the sequences taken, 0 to 1 (more where one large request went alone)."""
        return self.sequences_in_flight / self.max_sequences

    @property
    def is_idle(self) -> bool:
        """True where nothing is in flight."""
        return self.sequences_in_flight == 0

    def has_room(self, sequences: int, prompt_tokens: int) -> bool:
        """True where the request fits both dimensions; one larger than a dimension fits when that is empty."""
        return self.fits_sequences(sequences) and self.fits_prefill(prompt_tokens)

    def fits_sequences(self, sequences: int) -> bool:
        """True where there is room for so many sequences more, or nothing is in flight."""
        return self.sequences_in_flight == 0 or self.sequences_in_flight + sequences <= self.max_sequences

    def fits_prefill(self, prompt_tokens: int) -> bool:
        """True where there is room for so many unread tokens more, or all prompts are read."""
        tokens = self.prefill_tokens_in_flight + prompt_tokens
        return self.prefills_in_flight == 0 or tokens <= self.max_prefill_tokens

    def has_express_room(self, sequences: int, prompt_tokens: int) -> bool:
        """True where the request fits the express lane; its prompt waits for the prefill cap's tokens at most."""
        lane = self.max_sequences + self._size.express
        tokens = self.prefill_tokens_in_flight + prompt_tokens
        return self.sequences_in_flight + sequences <= lane and tokens <= 2 * self.max_prefill_tokens

    def take(self, sequences: int, prompt_tokens: int) -> None:
        """Take room for a request that is being sent."""
        self.sequences_in_flight += sequences
        self.prefill_tokens_in_flight += prompt_tokens
        self.prefills_in_flight += 1

    def prefilled(self, prompt_tokens: int) -> None:
        """Its prompt was read, or it ended before that."""
        assert self.prefills_in_flight > 0, "prefill room given back twice"
        self.prefill_tokens_in_flight -= prompt_tokens
        self.prefills_in_flight -= 1

    def give(self, sequences: int) -> None:
        """It ended."""
        assert self.sequences_in_flight >= sequences, "sequence room given back twice"
        self.sequences_in_flight -= sequences
