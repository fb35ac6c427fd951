"""What ended or happened lately: the last requests by id, the last refusals, the last reload that was rejected."""

from collections import OrderedDict, deque
from time import time
from typing import Final, NamedTuple

from gateway.events import ConfigReloaded, Event, RequestFinished, WorkerChanged

MOST_REQUESTS: Final = 2000
MOST_REFUSALS: Final = 100
MOST_CHANGES: Final = 50


class Ended(NamedTuple):
    """A request that ended at `at` (Unix time)."""

    at: float
    event: RequestFinished


class Changed(NamedTuple):
    """A worker that changed its state at `at` (Unix time)."""

    at: float
    event: WorkerChanged


class Recent:
    """An observer that keeps the last of everything; each list has a bound."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self._requests: OrderedDict[str, Ended] = OrderedDict()
        self.refusals: deque[Ended] = deque(maxlen=MOST_REFUSALS)
        self.changes: deque[Changed] = deque(maxlen=MOST_CHANGES)
        self.faults: tuple[str, ...] = ()

    def observe(self, event: Event) -> None:
        """Take note of `event`."""
        if isinstance(event, RequestFinished):
            self._note(Ended(time(), event))
        elif isinstance(event, WorkerChanged):
            self.changes.append(Changed(time(), event))
        elif isinstance(event, ConfigReloaded):
            self.faults = tuple(event.faults)

    def _note(self, ended: Ended) -> None:
        self._requests[ended.event.request_id] = ended
        if len(self._requests) > MOST_REQUESTS:
            self._requests.popitem(last=False)
        if ended.event.outcome.is_refusal:
            self.refusals.append(ended)

    def request(self, request_id: str) -> Ended | None:
        """How request `request_id` ended, if it is one of the last."""
        return self._requests.get(request_id)
