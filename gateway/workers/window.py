"""The window of one worker: what may be in flight there, in two dimensions.

Sequences: the engine's batch (`max_num_seqs`) plus a slack of one or two, so that a slot is refilled without a round
trip but the engine's own first-come queue stays as short as the slack. Prompt tokens dispatched without a first token:
about one step's budget, so that a light tenant's prompt does not wait behind several long ones.
The window is the fairness bound's M: nothing that has left the gateway can be reordered any more.
A request of several sequences goes as soon as one of them has a place, and the engine runs the others as its slots come
free: no slot stays empty for it. When they end, one by one, only the engine knows. Those that it has no more hold no
place (`end_early`), and of the further ones, all but the first of each request, some are not counted: as many as the
latest such request has, which begins when the others end, or as the window has places, if that is more. So with places
for W sequences and requests of at most n fewer than W + max(W, n) + n sequences are in flight.
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
        "_ended",
        "_further",
        "_held",
        "_latest",
        "_several",
        "_size",
        "max_prefill_tokens",
        "max_sequences",
        "prefill_tokens_in_flight",
        "prefills_in_flight",
    )

    def __init__(self, size: WindowSize) -> None:
        """An empty window of `size`."""
        self.resize(size)
        self._held = 0  # sequences of all requests in flight
        self._several = 0  # of these, those of requests of more than one
        self._further = 0  # of these, all but the first of each request
        self._latest = 0  # further sequences of the latest request of several
        self._ended = 0  # of the further ones, those that the engine has no more
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
    def sequences_in_flight(self) -> int:
        """Sequences that were sent and that, as far as is known, have not ended."""
        return self._held - self._ended

    @property
    def load(self) -> float:
        """Part of the sequences taken, 0 to 1 (more where it is overdrawn)."""
        return self.sequences_in_flight / self.max_sequences

    @property
    def is_idle(self) -> bool:
        """True where nothing is in flight."""
        return self._held == 0

    @property
    def running_part(self) -> float:
        """Part of the sequences of requests of several that has not ended, 0 to 1."""
        return 1.0 - self._ended / self._several if self._ended else 1.0

    @property
    def has_place(self) -> bool:
        """True where there is a place for one sequence more."""
        places = self.max_sequences
        if not self._further:
            return self._held < places
        uncounted = min(self._further - self._ended, max(places, self._latest))
        return self.sequences_in_flight - uncounted < places

    def fits_prefill(self, prompt_tokens: int) -> bool:
        """True where there is room for so many unread tokens more; one larger than the cap fits when all are read."""
        tokens = self.prefill_tokens_in_flight + prompt_tokens
        return self.prefills_in_flight == 0 or tokens <= self.max_prefill_tokens

    def has_express_room(self, sequences: int, prompt_tokens: int) -> bool:
        """True where the request fits the express lane; its prompt waits for the prefill cap's tokens at most."""
        lane = self.max_sequences + self._size.express
        tokens = self.prefill_tokens_in_flight + prompt_tokens
        return self.sequences_in_flight + sequences <= lane and tokens <= 2 * self.max_prefill_tokens

    def take(self, sequences: int, prompt_tokens: int) -> None:
        """Take room for a request that is being sent."""
        self._held += sequences
        if sequences > 1:
            self._several += sequences
            self._further += sequences - 1
            self._latest = sequences - 1
        self.prefill_tokens_in_flight += prompt_tokens
        self.prefills_in_flight += 1

    def prefilled(self, prompt_tokens: int) -> None:
        """Its prompt was read, or it ended before that."""
        assert self.prefills_in_flight > 0, "prefill room given back twice"
        self.prefill_tokens_in_flight -= prompt_tokens
        self.prefills_in_flight -= 1

    def give(self, sequences: int) -> None:
        """It ended. Those that had ended before count as its own, so that no place is given twice."""
        assert self._held >= sequences, "sequence room given back twice"
        self._held -= sequences
        if sequences > 1:
            self._several -= sequences
            self._further -= sequences - 1
            self._ended = min(max(0, self._ended - (sequences - 1)), self._further)

    def end_early(self, sequences: int) -> bool:
        """The engine has so many fewer than are in flight; True where places came free by it.

        A request holds one place to its end: only its further sequences can have ended.
        """
        before, self._ended = self._ended, min(sequences, self._further)
        return self._ended > before
