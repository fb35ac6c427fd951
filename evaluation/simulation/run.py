"""One run: arrivals, the engines' events and the scheduler's deadlines in the order of their time, until all has ended.

Everything is a function of the requests and the settings: no clock, no randomness, the same bytes every time.
"""

from collections.abc import Callable, Sequence

from evaluation.requests import Request, Served
from evaluation.simulation.batching import Batching
from evaluation.simulation.result import Result
from evaluation.simulation.rounds import Rounds
from evaluation.simulation.settings import EngineModel, Settings, sized_to
from evaluation.simulation.simulated_gateway import POOL
from evaluation.simulation.workers import NEVER


class RequestTooLarge(ValueError):
    """A request that the engine can never hold."""


def simulate(
    requests: Sequence[Request], settings: Settings, advance: Callable[[float], None] = lambda now: None
) -> Result:
    """Play `requests`; `advance` is told the virtual time at every arrival. Raises `RequestTooLarge`, ValueError."""
    _check_sizes(requests, settings)
    return _Run(requests, settings).play(advance)


class _Run:
    def __init__(self, requests: Sequence[Request], settings: Settings) -> None:
        self._settings = settings
        self._served = [Served(request) for request in requests]
        order = sorted(range(len(requests)), key=lambda number: requests[number].arrival_seconds)
        self._to_come = [(requests[number].arrival_seconds, number) for number in reversed(order)]
        self._engines = Rounds(settings) if settings.engine is EngineModel.PAPER else Batching(settings)
        self._gateway = self._engines.gateway

    def play(self, advance: Callable[[float], None]) -> Result:
        """Until nothing is to come, or the time is up."""
        now, end = 0.0, NEVER if self._settings.until_seconds is None else self._settings.until_seconds
        while (at := self._next()) < end:
            now = at
            if self._to_come and self._to_come[-1][0] == now:
                self._arrive(now)
                advance(now)
            elif self._engines.due == now:
                self._engines.proceed(now)
            else:
                self._gateway.advance(now)
                self._engines.begin(now)
        now = now if end == NEVER else end
        tallies = self._engines.finish()
        charged = {name: flow.service for name, flow in self._gateway.admission.pools[POOL].queue.tenants.items()}
        readings = self._engines.readings
        return Result(self._served, now, self._gateway.spread, tallies, self._gateway.timeline, charged, readings)

    def _next(self) -> float:
        arrival = self._to_come[-1][0] if self._to_come else NEVER
        deadline = self._gateway.admission.next_deadline()
        return min(arrival, self._engines.due, NEVER if deadline is None else deadline)

    def _arrive(self, now: float) -> None:
        """All that arrives now is submitted before any engine looks at the queue."""
        while self._to_come and self._to_come[-1][0] == now:
            _, number = self._to_come.pop()
            self._gateway.submit(self._served[number], number, now)
        self._engines.begin(now)


def _check_sizes(requests: Sequence[Request], settings: Settings) -> None:
    for request in requests:
        if min(request.prompt_tokens, request.output_tokens) < 1:
            raise RequestTooLarge(f"{_described(request)} has no prompt or no answer: take it out")
        if not settings.holds(request):
            size, option = sized_to([request], settings).longest
            raise RequestTooLarge(f"the engine never holds {_described(request)}: {option} {size} or more does")


def _described(request: Request) -> str:
    lengths = f"{request.prompt_tokens} tokens of prompt and {request.output_tokens} of answer"
    return f"the request of {request.tenant!r:.60} at {request.arrival_seconds:g} s, with {lengths},"
