"""Finds the window in sequences if nobody states it: how many sequences one worker's engine runs at once.

A reading shows one of five things about an engine with N slots. Two of them are proofs. If more sequences run than the
window without its slack, N is larger. If sequences wait for a slot and at most `there` sequences can be there, N is
at most `there` minus those that wait. This holds however many have just ended: short answers, bursts and cancellations
hide what runs, but not what waits. So the window never shrinks below N + slack, and it does not stay at any other size:

    evidence                                            growing                            settled
    QUEUE    something waited for a slot                the second in a row: settled       the second in a row: settled
    EDGE     more ran than the window less its slack    grows                              grows, growing
    MOST     of a full window 7/8 ran, none waited      grows                              calm
    TAKEN    of a full window half ran, none waited     calm                               calm
    NOTHING  none of these                              -                                  -

When a second QUEUE settles the window, it becomes the larger of both proofs if that is less than before. After
`PATIENCE` calm readings, with no queue between them, the window grows too: it was too small for an engine that ends
many sequences in each step. It grows by a quarter while nothing is known, then by 1, 2, 4 and so on up to a quarter.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from gateway.workers.snapshot import Phase

MOST_SEQUENCES = 1024  # the most that an engine is believed to run at once: vLLM's largest default
FEWEST_SEQUENCES = 2
FIRST_SEQUENCES = 8
PATIENCE = {Phase.GROWING: 4, Phase.SETTLED: 32}  # the window grows after so many calm readings
LANE_PATIENCE = 128  # the same when settled with an express lane, whose empty slots make readings calm
SETTLED_PACE = 1
_QUARTER = 0


class SlotEvidence(Enum):
    """What a reading shows about the engine's slots."""

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
    """What is known: the window `limit`, how much it grows next (`pace`, 0: a quarter), and the `calm` readings so far.

    `proof` is the window that the last reading proved to be enough; 0 if nothing waited.
    """

    limit: int
    pace: int = _QUARTER
    proof: int = 0
    calm: int = 0

    @property
    def phase(self) -> Phase:
        """SETTLED if a queue has shown the size since the window last grew."""
        return Phase.SETTLED if self.pace == SETTLED_PACE else Phase.GROWING


class SequenceController:
    """The step from what is known to what is known after one more reading."""

    __slots__ = ("_patience", "_slack", "most")

    def __init__(self, slack: int, *, has_lane: bool = False, most: int = MOST_SEQUENCES) -> None:
        """Find an engine of up to `most` slots; `slack` is at least 1, because the size shows by what waits."""
        assert slack >= 1
        self._slack = slack
        self._patience = PATIENCE if not has_lane else PATIENCE | {Phase.SETTLED: LANE_PATIENCE}
        self.most = most + slack

    def start(self) -> Sequences:
        """What is known about an engine that was not seen yet."""
        return Sequences(min(self.most, FIRST_SEQUENCES))

    def evidence(self, known: Sequences, reading: SlotReading) -> SlotEvidence:
        """What a reading shows."""
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
