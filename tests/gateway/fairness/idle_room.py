"""The bench's own account of room: what a worker could take by what runs there, and what idles while others wait.

No word of the scheduler's or the fleet's is believed about room. A worker has room for a request if it runs fewer
sequences than its window has, and if the prompt fits beside those that the engine has not read.

While somebody waits whom it would take, a worker may leave places empty for two reasons only, and both end:
- The request in turn does not fit beside the unread prompts. It waits until the engine has read these. So all heads
  together leave at most all places but one empty, for as long as the engine reads prompts.
- The request in turn avoids the worker, which has just failed it. It waits until another worker has room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from gateway.fairness import Ticket
from gateway.workers import WindowSize

if TYPE_CHECKING:
    from .bench import Job


class IdleRoom:
    """The room of workers that all have the same window."""

    def __init__(self, window: WindowSize) -> None:
        """Nothing has idled yet."""
        assert window.sequences is not None
        assert window.prefill_tokens is not None
        self.places = window.sequences + window.slack
        self.max_unread_tokens = window.prefill_tokens
        self.idle: Counter[str] = Counter()  # of each worker, places times seconds while it would take who waits

    def free(self, jobs: Iterable[Job]) -> int:
        """Places that are left beside `jobs`, which run at one worker."""
        return self.places - sum(job.ticket.sequences for job in jobs)

    def has_room(self, jobs: Collection[Job], ticket: Ticket) -> bool:
        """True if a worker that runs `jobs` could take `ticket`."""
        unread = [job.ticket.prompt_tokens for job in jobs if job.is_unread]
        fits = not unread or sum(unread) + ticket.prompt_tokens <= self.max_unread_tokens
        return fits and self.free(jobs) > 0

    def pass_time(
        self, worker: str, jobs: Collection[Job], heads: Iterable[Ticket], seconds: float, *, is_avoided: bool
    ) -> None:
        """Note that for `seconds` a worker ran `jobs` while `heads` waited, each the next of its tenant.

        `is_avoided` says that a request waits that avoids the worker. It may have been in turn at the last event:
        charges change whose turn it is, but offer no room.
        """
        if any(head.avoid != worker and self.has_room(jobs, head) for head in heads):
            self.idle[worker] += seconds * self.free(jobs)
            is_read_first = any(job.is_unread for job in jobs)
            assert is_read_first or is_avoided, f"room of {worker} idles while others wait"
