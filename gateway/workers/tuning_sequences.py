"""The window in sequences where nobody states it: what one worker's engine runs at once, as far as it has shown.

A reading tells one of five things of an engine of N slots, and two of them are proofs. What more runs than the window
less its slack shows that N is larger. What waits for a slot when no more than `there` can be there shows that N is
`there` less what waits, however many have just ended and so do not run: short answers, bursts and cancellations hide
what runs, but not that. So the window never shrinks below N + slack, and it leaves every other size:

    evidence                                            growing                            settled
    QUEUE    something waited for a slot                the second in a row: settled       the second in a row: settled
    EDGE     more ran than the window less its slack    grows                              grows, growing
    MOST     of a full window 7/8 ran, none waited      grows                              calm
    TAKEN    of a full window half ran, none waited     calm                               calm
    NOTHING  none of these                              -                                  -

Where a second QUEUE settles it, the window becomes the larger of both proofs if that is less than it was. `PATIENCE`
calm readings between which nothing waited make it grow too: it was too small for an engine that ends many in each step.
The step of a growth is a quarter while nothing is known, then 1, 2, 4 up to a quarter.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from gateway.workers.snapshot import Phase

MOST_SEQUENCES = 1024  # what an engine is believed to run at once: vLLM's largest default
FEWEST_SEQUENCES = 2
FIRST_SEQUENCES = 8
PATIENCE = {Phase.GROWING: 4, Phase.SETTLED: 32}  # calm readings for a growth
LANE_PATIENCE = 128  # settled with an express lane, which is slots kept empty: calm is what it looks like
SETTLED_PACE = 1
_QUARTER = 0


class SlotEvidence(Enum):
    """What a reading tells of the engine's slots."""

    NOTHING = auto()
    TAKEN = auto()
    MOST = auto()
    EDGE = auto()
    QUEUE = auto()


@dataclass(frozen=True, slots=True)
class SlotReading:
    """What one reading shows of the engine's slots.

    The engine says that `running` sequences run and `waiting` ones wait. By any count it has at most `there` of them.
    `is_limiting` means that this window alone held work back. `is_taken` means that the window was also full, and that
    the engine ran at least half of it in a step; sequences that ended with the step count as run.
    """

    running: int
    waiting: int
    there: int
    is_limiting: bool
    is_taken: bool


@dataclass(frozen=True, slots=True)
class Sequences:
    """What is known: the window, what the next growth adds (0: a quarter), what the last reading proved, calm ones.

    `proof` is what the window need not exceed by the last reading, 0 where nothing waited.
    """

    limit: int
    pace: int = _QUARTER
    proof: int = 0
    calm: int = 0

    @property
    def phase(self) -> Phase:
        """Settled where a queue has shown the size since it last grew."""
        return Phase.SETTLED if self.pace == SETTLED_PACE else Phase.GROWING


class SequenceLaw:
    """The step from what is known to what is known after one reading more."""

    __slots__ = ("_patience", "_slack", "most")

    def __init__(self, slack: int, *, has_lane: bool = False, most: int = MOST_SEQUENCES) -> None:
        """Before an engine of up to `most` slots; `slack` is at least 1, because the size shows by what waits."""
        assert slack >= 1
        self._slack = slack
        self._patience = PATIENCE if not has_lane else PATIENCE | {Phase.SETTLED: LANE_PATIENCE}
        self.most = most + slack

    def start(self) -> Sequences:
        """Before an engine that is not known."""
        return Sequences(min(self.most, FIRST_SEQUENCES))

    def evidence(self, known: Sequences, reading: SlotReading) -> SlotEvidence:
        """What a reading tells."""
        if reading.is_limiting and reading.running > known.limit - self._slack:
            return SlotEvidence.EDGE
        if reading.waiting:
            return SlotEvidence.QUEUE
        if reading.is_limiting and reading.running >= known.limit - known.limit // 8:
            return SlotEvidence.MOST
        return SlotEvidence.TAKEN if reading.is_taken else SlotEvidence.NOTHING

    def step(self, known: Sequences, reading: SlotReading) -> Sequences:
        """What is known after a reading."""
        match self.evidence(known, reading):
            case SlotEvidence.QUEUE:
                return self._waited(known, reading)
            case SlotEvidence.EDGE:
                return self._grown(known)
            case SlotEvidence.MOST if known.phase is Phase.GROWING:
                return self._grown(known)
            case SlotEvidence.MOST | SlotEvidence.TAKEN:
                return self._calmed(known)
            case SlotEvidence.NOTHING:
                return known if not known.proof else replace(known, proof=0)

    def _waited(self, known: Sequences, reading: SlotReading) -> Sequences:
        proof = reading.there - reading.waiting + self._slack
        if not known.proof:
            return replace(known, proof=min(proof, known.limit), calm=0)
        limit = max(FEWEST_SEQUENCES, proof, known.proof)
        if limit < known.limit:
            return Sequences(limit, SETTLED_PACE)
        return Sequences(known.limit, SETTLED_PACE, min(proof, known.limit))

    def _calmed(self, known: Sequences) -> Sequences:
        if known.calm + 1 >= self._patience[known.phase]:
            return self._grown(known)
        return replace(known, proof=0, calm=known.calm + 1)

    def _grown(self, known: Sequences) -> Sequences:
        quarter = max(1, known.limit // 4)
        limit = min(self.most, known.limit + min(known.pace or quarter, quarter))
        pace = 2 * known.pace
        return Sequences(limit, pace if pace < limit // 4 else _QUARTER)
