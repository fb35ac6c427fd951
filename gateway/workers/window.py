"""The window of one worker: what may be in flight there, in two dimensions.

Sequences: the engine's batch (`max_num_seqs`) plus a slack of one or two, so that a slot is refilled without a round
trip but the engine's own first-come queue stays as short as the slack. Prompt tokens dispatched without a first token:
about one step's budget, so that a light tenant's prompt does not wait behind several long ones.
The window is the fairness bound's M: nothing that has left the gateway can be reordered any more.
A request of several sequences goes as soon as one of them has a place, and the engine runs the others as its slots come
free: no slot stays empty for it. When they end, one by one, only the engine knows. Those that it has no more for sure
hold no place. Of the further ones, all but the first of each request, some are not counted: as many as the latest such
request has, which begins when the others end, or the part that had ended unseen at recent readings, if that is more, up
to four windows. So with places for W sequences and requests of at most n that start and end together fewer than
W + 2n - 1 are in flight; after others fewer than W + max(4W, n - 1) + n, until readings show the change.
The express lane is room for a few sequences beyond it, for those who have nothing in flight: the engine runs that many
more. Nobody is counted in the lane: it is free again as soon as so many requests, whosever, have ended.
"""

from dataclasses import dataclass
from typing import Final

UNTUNED_SEQUENCES = 16
UNTUNED_PREFILL_TOKENS = 2048
OPEN_SEQUENCES, OPEN_PREFILL_TOKENS = 1024, 1_000_000_000
MOST_UNSEEN_WINDOWS: Final = 4  # of sequences that are taken to have ended unseen
_BLIND_PART: Final = 0.5  # of the further sequences, taken to have ended where no engine tells


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
        "_ended_part",
        "_further",
        "_latest",
        "_parts",
        "_sent",
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
        self._sent = 0  # sequences of all requests in flight
        self._several = 0  # of these, those of requests of more than one
        self._further = 0  # of these, all but the first of each request
        self._latest = 0  # further sequences of the latest request of several
        self._ended = 0  # of the further ones, those that the engine has no more
        self._parts = 0.0, 0.0  # of the further ones, not there at the last two readings
        self._ended_part = 0.0  # of the further ones, as the readings have it
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
        return self._sent - self._ended

    @property
    def load(self) -> float:
        """Part of the sequences taken, 0 to 1 (more where it is overdrawn)."""
        return self.sequences_in_flight / self.max_sequences

    @property
    def is_idle(self) -> bool:
        """True where nothing is in flight."""
        return self._sent == 0

    @property
    def running_part(self) -> float:
        """Part of the sequences of requests of several that has not ended, 0 to 1."""
        return 1.0 - self._ended / self._several if self._ended else 1.0

    @property
    def has_place(self) -> bool:
        """True where there is a place for one sequence more."""
        return self._counted < self.max_sequences

    @property
    def _counted(self) -> float:
        """Sequences that hold a place."""
        if not self._further:
            return self._sent
        unseen = min(self._ended_part * self._further - self._ended, MOST_UNSEEN_WINDOWS * self.max_sequences)
        return self._sent - self._ended - max(unseen, min(self._further - self._ended, self._latest))

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
        self._sent += sequences
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
        assert self._sent >= sequences, "sequence room given back twice"
        self._sent -= sequences
        if sequences > 1:
            self._several -= sequences
            self._further -= sequences - 1
            self._ended = min(max(0, self._ended - (sequences - 1)), self._further)

    def read(self, there: float | None, ended: int) -> bool:
        """The engine has `there` sequences, and `ended` of ours have ended for certain; True where places came free.

        A request holds one place to its end: only its further sequences can have ended. Of the latest requests nothing
        is certain, for a reading may be older: the part that is not there counts as far as one of two readings before
        showed as much.
        """
        before = self._ended, self._counted
        self._ended = min(ended, self._further)
        if self._further and there is not None:
            part = min(1.0, max(0.0, (self._sent - there) / self._further))
            self._ended_part = min(part, max(self._parts))
            self._parts = self._parts[1], part
        return self._ended > before[0] or self._counted < before[1]

    def blind(self) -> bool:
        """Nobody tells which sequences have ended; True where places came free by it."""
        before = self._counted
        self._ended = 0
        self._ended_part = _BLIND_PART
        self._parts = _BLIND_PART, _BLIND_PART
        return self._counted < before
