"""The window in memory: what the requests in flight need of a worker's KV cache, and how much of that may be promised.

Demand is our own count: of each request the tokens it has, rounded up to blocks, and a part f of those it is expected
to generate yet. What a token takes of the cache is the engine's word, corrected by its gauge: prompts that begin alike
share their blocks. A preempted request counts in full, so nothing more is sent until it is back.
f is tuned: up at once when memory ran out (preemptions, a queue beyond the slack), down slowly while only memory holds
work back, nothing waits and the cache has stayed below `FULL_USAGE`; in between it rests.
"""

from typing import Protocol

from gateway.workers.sample import EngineFacts

FULL_USAGE = 0.95  # a cache that was fuller lately has nothing left to promise
_COUNTED_FROM = 0.5  # of the cache promised at the last count; below that the exact demand cannot matter
_MOST_RESERVE, _FIRST_RESERVE, _RISE, _FALL = 1.5, 0.3, 0.15, 0.01
_PEAK_FALL = 0.01  # of the cache and reading: how fast a peak of its usage is forgotten
_SHARE_GAIN = 0.2  # of a reading that can be compared with our own count
_SHARE_RANGE = (0.02, 1.5)  # times the engine's word: sharing makes it less, other clients and rounding make it more
_OUTPUT_GAIN = 0.1


class Counted(Protocol):
    """The engine's count of a request so far."""

    @property
    def output_tokens(self) -> int: ...


class Flight(Protocol):
    """What is read of a request in flight."""

    sequences: int
    prompt_tokens: int
    max_output_tokens: int
    reserved_tokens: int
    accrued_tokens: int

    @property
    def usage(self) -> Counted | None: ...


class Memory:
    """The KV cache of one worker, as far as our own requests fill it."""

    __slots__ = (
        "_block_tokens",
        "_counted_tokens",
        "_finished_tokens",
        "_flights",
        "_mean_output_tokens",
        "_peak_usage",
        "_said_share",
        "_share",
        "reserve",
    )

    def __init__(self) -> None:
        """A cache of unknown size, with nothing in it."""
        self._block_tokens = 1
        self._said_share = 0.0
        self._share = 0.0  # of the cache that one token takes; 0: not known, so memory holds nothing back
        self.reserve = _FIRST_RESERVE  # f
        self._peak_usage = 0.0
        self._mean_output_tokens = 0.0
        self._finished_tokens = 0
        self._counted_tokens = 0.0  # demand when it was last counted, and what was taken and given since
        self._flights: dict[Flight, float] = {}

    # -- requests

    def take(self, flight: Flight) -> None:
        """A request is being sent."""
        demand = self._demand(flight)
        self._flights[flight] = demand
        self._counted_tokens += demand

    def give(self, flight: Flight) -> None:
        """It ended; how long it became is what is expected of others that nobody predicts."""
        self._counted_tokens -= self._flights.pop(flight)
        if flight.usage is not None and flight.usage.output_tokens:
            tokens = flight.usage.output_tokens
            self._finished_tokens += tokens
            per_sequence = tokens / max(1, flight.sequences)
            gain = _OUTPUT_GAIN if self._mean_output_tokens else 1.0
            self._mean_output_tokens += gain * (per_sequence - self._mean_output_tokens)

    def has_room(self, flight: Flight) -> bool:
        """True where the cache holds one more such request by what is promised; always where nothing is in flight."""
        if not self._share or not self._flights:
            return True
        demand = self._demand(flight)
        if (self._counted_tokens + demand) * self._share <= _COUNTED_FROM:
            return True
        return (self.count() + demand) * self._share <= 1.0

    # -- views

    @property
    def capacity_tokens(self) -> int:
        """Tokens that fit the cache, by the density seen; 0 where that is not known."""
        return round(1 / self._share) if self._share else 0

    @property
    def demand_tokens(self) -> int:
        """Tokens promised, as last counted."""
        return round(self._counted_tokens)

    @property
    def generated_tokens(self) -> int:
        """Every token that our requests have received here: it only grows."""
        return self._finished_tokens + sum(map(_generated, self._flights))

    @property
    def flights(self) -> tuple[Flight, ...]:
        """The requests in flight."""
        return tuple(self._flights)

    def count(self) -> float:
        """Count the demand of all requests in flight anew."""
        demands = {flight: self._demand(flight) for flight in self._flights}
        self._flights = demands
        self._counted_tokens = sum(demands.values())
        return self._counted_tokens

    def fits(self, usage: float, unread_tokens: int) -> bool:
        """True where the cache, that full, would still hold prompts of `unread_tokens`."""
        return usage + unread_tokens * self._share < FULL_USAGE

    # -- the law

    def learn(self, facts: EngineFacts) -> None:
        """Take in the cache's size as the engine states it."""
        self._block_tokens = max(1, facts.block_tokens)
        self._said_share = self._share = 1 / facts.kv_tokens if facts.kv_tokens > 0 else 0.0
        self.count()

    def weigh(self, usage: float) -> None:
        """Compare the gauge with our own count, when all in flight is in the cache and nothing else changes it."""
        present = sum(self._present(flight, _generated(flight)) for flight in self._flights)
        if usage < 0.1 or present <= 0:
            return
        seen = usage / present
        if self._said_share:
            least, most = _SHARE_RANGE
            seen = min(max(seen, least * self._said_share), most * self._said_share)
        self._share = seen if not self._share else self._share + _SHARE_GAIN * (seen - self._share)

    def note(self, usage: float) -> None:
        """Remember how full the cache was."""
        self._peak_usage = max(usage, self._peak_usage - _PEAK_FALL)

    def ran_out(self) -> None:
        """Memory did not hold what was promised: promise less."""
        self.reserve = min(_MOST_RESERVE, self.reserve + _RISE)

    def was_idle(self) -> bool:
        """Memory alone held work back; True where more can be promised from now on."""
        if self._peak_usage >= FULL_USAGE or self.reserve <= 0.0:
            return False
        self.reserve = max(0.0, self.reserve - _FALL)
        return True

    def forget(self) -> None:
        """The engine started anew: its cache may be another."""
        self._share, self._peak_usage = self._said_share, 0.0

    def _demand(self, flight: Flight) -> float:
        generated = _generated(flight)
        expected = flight.reserved_tokens or self._mean_output_tokens * flight.sequences
        rest = min(max(0.0, expected - generated), max(0, flight.max_output_tokens - generated))
        return self._present(flight, generated) + self.reserve * rest

    def _present(self, flight: Flight, generated: int) -> int:
        """Tokens in whole blocks; every further sequence of a request ends in a block of its own."""
        blocks = -(-(flight.prompt_tokens + generated) // self._block_tokens) + max(0, flight.sequences - 1)
        return blocks * self._block_tokens


def _generated(flight: Flight) -> int:
    return flight.accrued_tokens if flight.usage is None else flight.usage.output_tokens
