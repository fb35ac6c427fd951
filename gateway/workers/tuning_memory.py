"""The window in memory: what the requests in flight need of a worker's KV cache, and how much of that may be promised.

Demand is our own count: of each request the tokens it has, in whole blocks, and room to grow by a part f of the mean
answer. However long it is already, as much may be to come: lengths are close to memoryless, and counting down what is
left of an expectation promises too much of it; a tenant's own mean moves too fast to be of use. What a token takes of
the cache is the engine's word, corrected by its gauge: prompts that begin alike share blocks. A preempted request
counts in full, so nothing more is sent until it is back. A request of several sequences goes when one of them fits: the
engine starts each as memory comes free, and nothing more is sent until the promise fits the cache again.
f is tuned: up when more than the slack waits for memory, down by a 113th of that with each reading at which memory
alone held work back and nothing waited. So about one reading in a hundred finds a queue in the long run.
"""

from collections import deque
from typing import Protocol

from gateway.workers.sample import EngineFacts

FULL_USAGE = 0.95  # with the largest request's part: beyond it one more may not be admitted
_COUNTED_FROM = 0.5  # of the cache promised at the last count; below that the exact demand cannot matter
_FIRST_RESERVE, _LEAST_RESERVE, _MOST_RESERVE = 0.35, 0.05, 1.0  # of the expected output: f
_RISE, _FALL = 1.12, 0.999  # factors; 113 falls undo a rise
_PATIENCE = 2  # readings of one lack of memory for which f rises once
_FIRST_OUTPUT_TOKENS = 256.0  # expected of an answer while none has ended
_SHARE_GAIN = 0.2  # of a reading that can be compared with our own count
_SHARE_RANGE = (0.02, 1.5)  # times the engine's word: sharing makes it less, other clients and rounding make it more
_OUTPUT_GAIN = 0.02  # of an answer to the mean length, once fifty have ended
_MOST_ANSWERED = 256  # requests kept until somebody looks at them


class RunningRequest(Protocol):
    """What is read of a request in flight; `output_tokens` as the engine told, `accrued_tokens` where it does not."""

    sequences: int
    prompt_tokens: int
    max_output_tokens: int
    accrued_tokens: int
    output_tokens: int


class Memory:
    """The KV cache of one worker, as far as our own requests fill it."""

    __slots__ = (
        "_block_tokens",
        "_counted_tokens",
        "_ended",
        "_finished_tokens",
        "_mean_output_tokens",
        "_requests",
        "_share",
        "_short_readings",
        "_stated_share",
        "answered",
        "given_sequences",
        "reserve",
        "running_part",
    )

    def __init__(self) -> None:
        """A cache of unknown size, with nothing in it."""
        self._block_tokens = 1
        self._stated_share = 0.0
        self._share = 0.0  # of the cache that one token takes; 0: not known, so memory holds nothing back
        self.reserve = _FIRST_RESERVE  # f
        self.running_part = 1.0  # of the sequences of requests of several: the others have ended
        self._mean_output_tokens = _FIRST_OUTPUT_TOKENS
        self._short_readings = 0
        self._finished_tokens = 0
        self.answered: deque[RunningRequest] = deque(maxlen=_MOST_ANSWERED)  # since they were last looked at
        self._ended = 0  # answers
        self.given_sequences = 0  # of all requests that ended, whatever became of them
        self._counted_tokens = 0.0  # demand when it was last counted, and what was taken and given since
        self._requests: dict[RunningRequest, float] = {}

    # -- requests

    def take(self, request: RunningRequest) -> None:
        """A request is being sent."""
        demand = self._demand(request)
        self._requests[request] = demand
        self._counted_tokens += demand

    def give(self, request: RunningRequest) -> None:
        """It ended; how long it became is what is expected of others that nobody predicts."""
        self._counted_tokens -= self._requests.pop(request)
        self.given_sequences += request.sequences
        tokens = request.output_tokens
        if tokens:
            self._finished_tokens += tokens
            self.answered.append(request)
            per_sequence = tokens / max(1, request.sequences)
            self._ended += 1
            gain = max(_OUTPUT_GAIN, 1 / (1 + self._ended))
            self._mean_output_tokens += gain * (per_sequence - self._mean_output_tokens)

    def has_room(self, request: RunningRequest) -> bool:
        """True where the cache holds one more such sequence by what is promised; always where nothing is in flight."""
        if not self._share or not self._requests:
            return True
        demand = self._demand(request) / request.sequences
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
        return self._finished_tokens + sum(map(_generated, self._requests))

    @property
    def overdrawn_sequences(self) -> int:
        """Sequences that may wait for memory because their request went when one of them fitted."""
        if self._counted_tokens * self._share <= 1.0:
            return 0
        return sum(request.sequences - 1 for request in self._requests)

    @property
    def requests(self) -> tuple[RunningRequest, ...]:
        """The requests in flight."""
        return tuple(self._requests)

    def count(self) -> float:
        """Count the demand of all requests in flight anew."""
        demands = {request: self._demand(request) for request in self._requests}
        self._requests = demands
        self._counted_tokens = sum(demands.values())
        return self._counted_tokens

    def is_full(self, usage: float) -> bool:
        """True where a cache in use like that may not hold one more request of the largest size in flight."""
        largest = max((self._present(request, _generated(request)) for request in self._requests), default=0)
        return usage + largest * self._share > FULL_USAGE

    # -- the law

    def learn(self, facts: EngineFacts) -> None:
        """Take in the cache's size as the engine states it."""
        self._block_tokens = max(1, facts.block_tokens)
        self._stated_share = self._share = 1 / facts.kv_tokens if facts.kv_tokens > 0 else 0.0
        self.count()

    def weigh(self, usage: float) -> None:
        """Compare the gauge with our own count, when all in flight is in the cache and nothing else changes it.

        Not beside a request of several sequences: which of them have ended is not known.
        """
        present = sum(self._present(request, _generated(request)) for request in self._requests)
        if usage < 0.1 or present <= 0 or any(request.sequences > 1 for request in self._requests):
            return
        seen = usage / present
        if self._stated_share:
            least, most = _SHARE_RANGE
            seen = min(max(seen, least * self._stated_share), most * self._stated_share)
        self._share = seen if not self._share else self._share + _SHARE_GAIN * (seen - self._share)

    def ran_out(self) -> None:
        """Memory did not hold what was promised: promise less, once for each lack and again where it lasts."""
        if self._short_readings % _PATIENCE == 0:
            self.reserve = min(_MOST_RESERVE, self.reserve * _RISE)
        self._short_readings += 1

    def sufficed(self, *, is_limiting: bool) -> None:
        """Nothing waits; where memory alone held work back it may promise a little more."""
        self._short_readings = 0
        if is_limiting:
            self.reserve = max(_LEAST_RESERVE, self.reserve * _FALL)

    def forget(self) -> None:
        """The engine started anew: its cache may be another."""
        self._share = self._stated_share

    def _demand(self, request: RunningRequest) -> float:
        generated = _generated(request)
        growth = min(
            self.reserve * self._mean_output_tokens * request.sequences, max(0, request.max_output_tokens - generated)
        )
        demand = self._present(request, generated) + growth
        return demand if request.sequences == 1 else demand * self.running_part

    def _present(self, request: RunningRequest, generated: int) -> int:
        """Tokens in whole blocks; every further sequence of a request ends in a block of its own."""
        blocks = -(-(request.prompt_tokens + generated) // self._block_tokens) + max(0, request.sequences - 1)
        return blocks * self._block_tokens


def _generated(request: RunningRequest) -> int:
    return request.output_tokens or request.accrued_tokens
