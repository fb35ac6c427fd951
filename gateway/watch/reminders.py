"""When lasting trouble of a worker is said again: at growing intervals, so that it is neither missed nor fills a log.

What is said first is said at once, then after half a minute, a minute, and so on up to ten minutes. Other words for the
same trouble (an engine that starts is refused, then silent, then lacks the model) are said a little earlier.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 600.0
CHANGED_PAUSE_SECONDS: Final = 10.0  # the least time between two lines, whatever changes


@dataclass(slots=True)
class _Trouble:
    """One worker's at one address: since when, and what was said of it last ("": by another line); loop time."""

    url: str
    began_at: float
    said: str
    said_at: float
    pause_seconds: float = FIRST_PAUSE_SECONDS


class Reminders:
    """The trouble that every worker is in; one that is in none is not here."""

    def __init__(self) -> None:
        """All is well."""
        self._troubles: dict[str, _Trouble] = {}

    def begin(self, worker: str, url: str, now: float, said: str = "") -> None:
        """`worker` is in trouble at `url`, and that was said."""
        self._troubles[worker] = _Trouble(url, now, said, now)

    def is_due(self, worker: str, url: str, words: str, now: float) -> bool:
        """True where it is time to say `words` of a worker in trouble, which counts as said then."""
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
        """For how long `worker` has been in trouble; 0 where it is in none."""
        trouble = self._troubles.get(worker)
        return 0.0 if trouble is None else now - trouble.began_at

    def end(self, worker: str) -> None:
        """`worker` is well, or well enough."""
        self._troubles.pop(worker, None)

    def keep(self, workers: Container[str]) -> None:
        """Forget all but `workers`."""
        self._troubles = {name: trouble for name, trouble in self._troubles.items() if name in workers}
