"""When lasting trouble of a worker is reported again: at growing intervals, so that it neither hides nor fills a log.

The first report comes at once, the next after half a minute, then after a minute, and so on up to ten minutes. If the
trouble has other words (a starting engine refuses connections, then is silent, then lacks the model), its report may
come earlier, but at least ten seconds after the one before.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 600.0
CHANGED_PAUSE_SECONDS: Final = 10.0  # the least time between two reports, whatever changes


@dataclass(slots=True)
class _Trouble:
    """The trouble of one worker at one address: since when (loop time), and what was last said of it.

    `said` is "" if another log line has said it.
    """

    url: str
    began_at: float
    said: str
    said_at: float
    pause_seconds: float = FIRST_PAUSE_SECONDS


class Reminders:
    """The trouble of every worker that is in trouble."""

    def __init__(self) -> None:
        """Start with no worker in trouble."""
        self._troubles: dict[str, _Trouble] = {}

    def begin(self, worker: str, url: str, now: float, said: str = "") -> None:
        """Note that `worker` is in trouble at `url`, and that this was reported."""
        self._troubles[worker] = _Trouble(url, now, said, now)

    def is_due(self, worker: str, url: str, words: str, now: float) -> bool:
        """True if it is time to say `words` of a worker in trouble; they count as said from then on."""
        trouble = self._troubles.get(worker)
        if trouble is None or trouble.url != url:
            self.begin(worker, url, now, words)
            return True
        since_seconds = now - trouble.said_at
        is_again = since_seconds >= trouble.pause_seconds
        is_other = trouble.said not in ("", words)
        if not is_again and (not is_other or since_seconds < CHANGED_PAUSE_SECONDS):
            return False
        if is_again:
            trouble.pause_seconds = min(2 * trouble.pause_seconds, LONGEST_PAUSE_SECONDS)
        trouble.said, trouble.said_at = words, now
        return True

    def age_seconds(self, worker: str, now: float) -> float:
        """For how long `worker` has been in trouble, in seconds; 0 if it is in none."""
        trouble = self._troubles.get(worker)
        return 0.0 if trouble is None else now - trouble.began_at

    def end(self, worker: str) -> None:
        """Note that `worker` is no longer in trouble."""
        self._troubles.pop(worker, None)

    def keep(self, workers: Container[str]) -> None:
        """Forget all workers but `workers`."""
        self._troubles = {name: trouble for name, trouble in self._troubles.items() if name in workers}
