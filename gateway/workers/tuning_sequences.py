"""The window in sequences: how many the engine runs at once, as far as it has shown.

    state       evidence                                         becomes    window
    growing     all of a full window ran, work was held back     growing    + step
    growing     the engine had no slot for what it had           settled    what it ran + slack
    growing     a part of the slack waited for a slot            settled    what it ran + slack, if that is less
    settled     it ran more than it was thought to run           growing    what it ran + slack
    settled     the engine had no slot for what it had           settled    what it ran + slack

The step is a quarter while nothing is known, then 1, doubled by each growth that the engine takes: a size once found is
left by one sequence at a time. Growth needs evidence at the edge and the edge is `slack` beyond what the engine runs,
so a size that is right is never probed again.
"""

from gateway.workers.snapshot import Phase

MOST_SEQUENCES = 1024  # what an engine is believed to run at once: vLLM's largest default
FEWEST_SEQUENCES = 2
FIRST_SEQUENCES = 8
_STRIKES = 2  # readings in a row that show a queue: one may be a moment's
_CRUSH = 4  # sequences waiting beyond twice the slack, which no moment explains


class SequenceLaw:
    """How many sequences may be in flight at one worker."""

    __slots__ = ("_express", "_ran", "_step", "_strikes", "limit", "most", "phase", "seen", "slack")

    def __init__(self, sequences: int | None, slack: int, express: int = 0) -> None:
        """Settled where `sequences` says what the engine runs, else looking for it.

        `express` of what is looked for are not part of the common window, which is full without them.
        """
        self.slack = slack
        self._express = express
        self.seen = 0  # the most that the engine has run at once
        self._strikes = 0
        self._ran = 0  # the most it ran while it had no slot
        self._step = 0  # 0: a quarter
        self.most = MOST_SEQUENCES + slack if sequences is None else sequences + slack
        self.limit = min(self.most, FIRST_SEQUENCES) if sequences is None else self.most
        self.phase = Phase.GROWING if sequences is None else Phase.SETTLED

    def overflowed(self, running: int, waiting: int) -> bool:
        """More waits than the slack for want of slots; True where the window changed."""
        self._strikes += 1
        self._ran = max(self._ran, running)
        if self._strikes < _STRIKES and waiting <= 2 * self.slack + _CRUSH:
            return False
        before = self.limit
        # A size that was settled is given up for what is seen now: the engine may have become a smaller one.
        self.seen = self._ran if self.phase is Phase.SETTLED else max(self.seen, self._ran)
        self._settle(self.seen)
        return self.limit != before

    def brimmed(self, running: int) -> None:
        """A part of the slack waits for a slot, as it should: what is sought is found."""
        self._strikes += 1
        self.seen = max(self.seen, running)
        if self.phase is Phase.GROWING and self._strikes >= _STRIKES:
            limit = self.limit
            self._settle(self.seen)
            self.limit = min(self.limit, limit)

    def fitted(self, running: int, own: int, *, is_held: bool) -> bool:
        """Nothing waits beyond the slack; `is_held` says that work waits for sequences alone; True where it grew."""
        self._strikes = self._ran = 0
        known, self.seen = self.seen, max(self.seen, running)
        if not is_held or self.limit >= self.most:
            return False
        if self.phase is Phase.SETTLED:
            if min(running, own) <= max(known, self.limit - self.slack):
                return False
            self.phase = Phase.GROWING
        elif min(running, own) < self.limit - self._express - self.limit // 8:
            return False
        step = self._step or max(1, self.limit // 4)
        self._step *= 2
        self.limit = min(self.most, self.limit + min(step, max(1, self.limit // 4)))
        return True

    def _settle(self, capacity: int) -> None:
        self.limit = min(self.most, max(FEWEST_SEQUENCES, capacity + self.slack))
        self.phase = Phase.SETTLED
        self._strikes = self._ran = 0
        self._step = 1
