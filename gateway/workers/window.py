"""The window of one worker: what may be in flight there, in sequences and in prompt tokens that are not yet read.

A third limit, the memory of the KV cache, is `tuning_memory`'s; `tuning` finds out how large all three are.

Sequences. The window is the engine's batch (`max_num_seqs`) plus a slack of one or two. So a slot is refilled without a
round trip, and yet the engine's own first-come queue is never longer than the slack.
Prompt tokens that were sent and have no first token yet. The window is about one step's budget, so that a short prompt
does not wait behind several long ones.
The window is M in the fairness bound: what has left the gateway cannot be reordered any more.

A request of several sequences goes as soon as one of them has a place, and the engine runs the others as its slots come
free. So no slot stays empty because of it. Only the engine knows when its sequences end. Sequences that have ended for
certain hold no place. Of the further sequences (all but the first of each request), the window leaves out the larger of
two numbers. The first is how many the latest such request has, because it begins when the others end. The second is how
many had probably ended unseen at recent readings, at most four windows. So if there are places for W sequences, and
requests of at most n sequences start and end together, then fewer than W + 2n - 1 sequences are in flight. After other
requests fewer than W + max(4W, n - 1) + n are in flight, until readings show the change.

The express lane is room for a few sequences beyond the window, for tenants with nothing in flight: the engine runs that
many more. No request counts as one of the lane: the lane is free again when as many requests have ended, of any tenant.
With other replicas at the same worker that cannot be known. Then each replica has a part of the lane, and counts the
requests that it sent there (`shared_fleet`).
"""

from dataclasses import dataclass
from typing import Final

UNTUNED_SEQUENCES = 16
UNTUNED_PREFILL_TOKENS = 2048
OPEN_SEQUENCES, OPEN_PREFILL_TOKENS = 1024, 1_000_000_000
MOST_UNSEEN_WINDOWS: Final = 4  # at most so many windows of sequences are taken to have ended unseen
_BLIND_PART: Final = 0.5  # the share of further sequences taken to have ended if the engine does not say


@dataclass(frozen=True, slots=True)
class WindowSize:
    """The configured size of a window; None means that the gateway finds the size out.

    The engine runs `sequences` at once, and `slack` more may be sent. At most `prefill_tokens` may be not yet
    prefilled. The express lane has `express` sequences beyond that. If the window `is_open`, the engine orders its own
    queue; then nothing is found out, and neither the engine's queue nor its memory holds anything back.
    """

    sequences: int | None = 16
    slack: int = 1
    prefill_tokens: int | None = 2048
    express: int = 0
    is_open: bool = False


def open_window(sequences: int | None, slack: int, prefill_tokens: int | None) -> WindowSize:
    """The window of an engine that orders its own queue; None means no limit."""
    return WindowSize(sequences or OPEN_SEQUENCES, slack, prefill_tokens or OPEN_PREFILL_TOKENS, is_open=True)


class Window:
    """The room at one worker; whatever is taken is given back exactly once."""

    __slots__ = (
        "_ended",
        "_ended_part",
        "_further",
        "_latest",
        "_parts",
        "_sent",
        "_several",
        "_size",
        "lane_sequences",
        "max_prefill_tokens",
        "max_sequences",
        "others_prompt_tokens",
        "others_sequences",
        "prefill_tokens_in_flight",
        "prefills_in_flight",
    )

    def __init__(self, size: WindowSize) -> None:
        """Start empty, with `size`."""
        self.resize(size)
        self._sent = 0  # sequences of all requests in flight
        self._several = 0  # those of them whose request has more than one
        self._further = 0  # those of `_several` that are not the first of their request
        self._latest = 0  # further sequences of the latest request that has several
        self._ended = 0  # further sequences that have ended for certain
        self._parts = 0.0, 0.0  # the share of further sequences that was missing at the last two readings
        self._ended_part = 0.0  # the share of further sequences that has ended, judging by the readings
        self.prefill_tokens_in_flight = 0
        self.prefills_in_flight = 0
        self.lane_sequences = 0  # of those sent, in the part of the express lane; 0 if the lane is whole
        self.others_sequences = 0  # of other replicas; they count in the load, not in `has_place`
        self.others_prompt_tokens = 0  # of other replicas, not yet read

    def resize(self, size: WindowSize) -> None:
        """Take over a new size at once; what is in flight stays."""
        self._size = size
        self.max_sequences = (size.sequences or UNTUNED_SEQUENCES) + size.slack
        self.max_prefill_tokens = size.prefill_tokens or UNTUNED_PREFILL_TOKENS

    def limit(self, max_sequences: int, max_prefill_tokens: int) -> None:
        """Take over limits that were found out."""
        self.max_sequences = max_sequences
        self.max_prefill_tokens = max_prefill_tokens

    @property
    def has_express(self) -> bool:
        """True if the window has an express lane."""
        return self._size.express > 0

    @property
    def sequences_in_flight(self) -> int:
        """Sequences that were sent and have not ended, as far as is known."""
        return self._sent - self._ended

    @property
    def load(self) -> float:
        """Sequences in flight, of all replicas, divided by the window: 0 to 1; more if the window is overdrawn."""
        return (self._sent - self._ended + self.others_sequences) / self.max_sequences

    @property
    def is_idle(self) -> bool:
        """True if nothing is in flight."""
        return self._sent == 0

    @property
    def running_part(self) -> float:
        """The share of the sequences of requests with several that has not ended, 0 to 1."""
        return 1.0 - self._ended / self._several if self._ended else 1.0

    @property
    def has_place(self) -> bool:
        """True if there is a place for one more sequence."""
        return self._counted < self.max_sequences

    @property
    def _counted(self) -> float:
        """How many sequences hold a place."""
        sent = self._sent - self.lane_sequences
        if not self._further:
            return sent
        unseen = min(self._ended_part * self._further - self._ended, MOST_UNSEEN_WINDOWS * self.max_sequences)
        return sent - self._ended - max(unseen, min(self._further - self._ended, self._latest))

    def fits_prefill(self, prompt_tokens: int) -> bool:
        """True if a prompt of so many tokens fits; one that is larger than the limit fits when all others are read."""
        others = self.others_prompt_tokens
        is_first = self.prefills_in_flight == 0 and others == 0
        return is_first or self.prefill_tokens_in_flight + others + prompt_tokens <= self.max_prefill_tokens

    def has_express_room(self, sequences: int, prompt_tokens: int) -> bool:
        """True if the request fits in the express lane."""
        lane = self.max_sequences + self._size.express
        return self.sequences_in_flight + sequences <= lane and self.fits_express_prefill(prompt_tokens)

    def fits_express_prefill(self, prompt_tokens: int) -> bool:
        """True if a prompt of so many tokens fits in the express lane: twice the limit of prefill."""
        tokens = self.prefill_tokens_in_flight + self.others_prompt_tokens + prompt_tokens
        return tokens <= 2 * self.max_prefill_tokens

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
        """Give back the prompt of a request that was read, or that ended before."""
        assert self.prefills_in_flight > 0, "prefill room given back twice"
        self.prefill_tokens_in_flight -= prompt_tokens
        self.prefills_in_flight -= 1

    def give(self, sequences: int) -> None:
        """Give back the sequences of a request that ended.

        Sequences that had ended before count as its own first, so that no place is given back twice.
        """
        assert self._sent >= sequences, "sequence room given back twice"
        self._sent -= sequences
        if sequences > 1:
            self._several -= sequences
            self._further -= sequences - 1
            self._ended = min(max(0, self._ended - (sequences - 1)), self._further)

    def read(self, there: float | None, ended: int) -> bool:
        """Take in that the engine has `there` sequences and that `ended` of ours have ended for certain.

        True if places came free. A request holds one place until it ends: only its further sequences can have ended.
        A reading may be older than the latest requests, so it is not certain about them. Therefore a missing share of
        sequences counts only as far as one of the two readings before missed as much.
        """
        before = self._ended, self._counted
        self._ended = min(ended, self._further)
        if self._further and there is not None:
            part = min(1.0, max(0.0, (self._sent - there) / self._further))
            self._ended_part = min(part, max(self._parts))
            self._parts = self._parts[1], part
        return self._ended > before[0] or self._counted < before[1]

    def blind(self) -> bool:
        """Assume how many sequences have ended, because the engine does not say; True if places came free."""
        before = self._counted
        self._ended = 0
        self._ended_part = _BLIND_PART
        self._parts = _BLIND_PART, _BLIND_PART
        return self._counted < before
