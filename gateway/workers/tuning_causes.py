"""Finds which limit answers for a queue at the engine, so that only that one shrinks."""

from gateway.workers.snapshot import Limit

# By (the cache is full, prefill cannot be the cause): what is waited for if more than the slack waits. Prefill cannot
# be the cause if the engine ran as many as it ever did and prefill was not the last limit to grow, or if a smaller
# limit of prefill would have held back nothing of what is unread.
CAUSES: dict[tuple[bool, bool], Limit] = {
    (True, True): Limit.MEMORY,
    (True, False): Limit.MEMORY,
    (False, True): Limit.SEQUENCES,
    (False, False): Limit.PREFILL,
}


class Causes:
    """What tells the causes apart: how many sequences the engine ever ran, and which limit was the last to grow."""

    __slots__ = ("last_grown", "most_running")

    def __init__(self) -> None:
        """Start with an engine that has run nothing."""
        self.last_grown = Limit.NOTHING
        self.most_running = 0

    def note(self, running: int, most: int) -> None:
        """Note how many sequences run, of `most` that can."""
        self.most_running = min(max(self.most_running, running), most)

    def of(self, *, is_memory_full: bool, ran: int, can_be_prefill: bool) -> Limit:
        """The cause of a queue at an engine that ran so many sequences."""
        ran_most = ran >= self.most_running - self.most_running // 8 and self.last_grown is not Limit.PREFILL
        return CAUSES[is_memory_full, ran_most or not can_be_prefill]
