"""The window in memory: how much of a worker's KV cache the requests in flight need, and how much may be promised.

Demand is our own count. For each request it is the tokens that the request has, in whole blocks, plus room to grow by a
share f of the mean answer. The room to grow does not depend on how long the answer is already, because lengths are
nearly memoryless: counting down an expectation promises too much. A tenant's own mean would move too fast to be useful.
How much of the cache a token takes is what the engine says, corrected by its gauge, because prompts that begin alike
share blocks. A preempted request counts in full, so nothing more is sent until it is back. A request of several
sequences goes as soon as one of them fits. The engine starts the others as memory comes free, and nothing more is sent
until everything that is promised fits the cache again.

f is tuned. It rises if more than the slack waits for memory. It falls, by a 113th of a rise, with each reading at which
memory alone held work back and nothing waited. So in the long run about one reading in a hundred finds a queue.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from gateway.workers.sample import EngineFacts

FULL_USAGE = 0.95  # if the use of the cache and the largest request exceed this, the engine may admit no more
_COUNTED_FROM = 0.5  # while less of the cache than this is promised, the exact demand cannot matter
_FIRST_RESERVE, _LEAST_RESERVE, MOST_RESERVE = 0.35, 0.05, 1.0  # of the expected output: f
_RISE, _FALL = 1.12, 0.999  # factors; 113 falls undo a rise
_PATIENCE = 2  # readings of one lack of memory for which f rises once
_FIRST_OUTPUT_TOKENS = 256.0  # expected of an answer while none has ended
_SHARE_GAIN = 0.2  # the weight of a reading that can be compared with our own count
_SHARE_RANGE = (0.02, 1.5)  # times what the engine says: shared blocks need less, other clients and rounding need more
_OUTPUT_GAIN = 0.02  # the weight of an answer in the mean length, once fifty have ended
_MOST_ANSWERED = 256  # so many answered requests are kept until the next reading


class RunningRequest(Protocol):
    """What is read of a request in flight; `output_tokens` are the engine's count, `accrued_tokens` our estimate."""

    sequences: int
    prompt_tokens: int
    max_output_tokens: int
    accrued_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class LearnedMemory:
    """What was learned of a worker's memory: f, the share that a token takes, the mean answer, of how many answers."""

    reserve: float
    share: float
    mean_output_tokens: float
    answers: int


class Memory:
    """The KV cache of one worker, as far as our own requests fill it; of other replicas' requests the sum is known."""

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
        "others_tokens",
        "reserve",
        "running_part",
    )

    def __init__(self) -> None:
        """Start with an empty cache of unknown size."""
        self._block_tokens = 1
        self._stated_share = 0.0
        self._share = 0.0  # the share of the cache that one token takes; 0 if unknown: then memory holds nothing back
        self.reserve = _FIRST_RESERVE  # f
        self.running_part = 1.0  # the share of sequences that has not ended, of requests with several
        self._mean_output_tokens = _FIRST_OUTPUT_TOKENS
        self._short_readings = 0
        self._finished_tokens = 0
        self.answered: deque[RunningRequest] = deque(maxlen=_MOST_ANSWERED)  # since they were last looked at
        self._ended = 0  # answers
        self.given_sequences = 0  # of all requests that ended, in whatever way
        self.others_tokens = 0  # promised to the requests of other replicas
        self._counted_tokens = 0.0  # the demand when it was last counted, with what was taken and given back since
        self._requests: dict[RunningRequest, float] = {}

    # -- requests

    def take(self, request: RunningRequest) -> None:
        """Count a request that is being sent."""
        demand = self._demand(request)
        self._requests[request] = demand
        self._counted_tokens += demand

    def give(self, request: RunningRequest) -> None:
        """Give back a request that ended, and learn the length of its answer."""
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
        """True if one more sequence of `request` fits beside what is promised, or if nothing is in flight."""
        others = self.others_tokens
        if not self._share or not (self._requests or others):
            return True
        demand = self._demand(request) / request.sequences + others
        if (self._counted_tokens + demand) * self._share <= _COUNTED_FROM:
            return True
        return (self.count() + demand) * self._share <= 1.0

    def demand(self, request: RunningRequest) -> int:
        """How many tokens one more sequence of `request` would be promised."""
        return round(self._demand(request) / request.sequences)

    # -- views

    @property
    def capacity_tokens(self) -> int:
        """How many tokens fit the cache, judging by what tokens take of it; 0 if that is not known."""
        return round(1 / self._share) if self._share else 0

    @property
    def demand_tokens(self) -> int:
        """How many tokens were promised when they were last counted."""
        return round(self._counted_tokens)

    @property
    def promised_tokens(self) -> int:
        """How many tokens were promised by all replicas."""
        return self.demand_tokens + self.others_tokens

    @property
    def generated_tokens(self) -> int:
        """All tokens that our requests have ever received here; the number only grows."""
        return self._finished_tokens + sum(map(_generated, self._requests))

    @property
    def overdrawn_sequences(self) -> int:
        """How many sequences may wait for memory because their request went as soon as one of them fitted."""
        if (self._counted_tokens + self.others_tokens) * self._share <= 1.0:
            return 0
        return sum(request.sequences - 1 for request in self._requests)

    @property
    def requests(self) -> tuple[RunningRequest, ...]:
        """The requests in flight."""
        return tuple(self._requests)

    def count(self) -> float:
        """Count the demand of all requests in flight anew, in tokens."""
        demands = {request: self._demand(request) for request in self._requests}
        self._requests = demands
        self._counted_tokens = sum(demands.values())
        return self._counted_tokens

    def is_full(self, usage: float) -> bool:
        """True if a cache with this `usage` (0 to 1) may have no space for one more request of the largest size."""
        largest = max((self._present(request, _generated(request)) for request in self._requests), default=0)
        return usage + largest * self._share > FULL_USAGE

    # -- tuning

    def learn(self, facts: EngineFacts) -> None:
        """Take over the cache's size that the engine states."""
        self._block_tokens = max(1, facts.block_tokens)
        self._stated_share = self._share = 1 / facts.kv_tokens if facts.kv_tokens > 0 else 0.0
        self.count()

    def weigh(self, usage: float) -> None:
        """Learn what a token takes of the cache, by comparing the gauge with our own count.

        The caller does this when everything in flight is in the cache. Nothing is learned beside a request of several
        sequences, because it is not known which of them have ended. Of what is promised to other replicas, as large a
        part is taken to be there as of what is promised to us.
        """
        present: float = sum(self._present(request, _generated(request)) for request in self._requests)
        if self.others_tokens and self._counted_tokens:
            present += self.others_tokens * present / self._counted_tokens
        if usage < 0.1 or present <= 0 or any(request.sequences > 1 for request in self._requests):
            return
        seen = usage / present
        if self._stated_share:
            least, most = _SHARE_RANGE
            seen = min(max(seen, least * self._stated_share), most * self._stated_share)
        self._share = seen if not self._share else self._share + _SHARE_GAIN * (seen - self._share)

    def ran_out(self) -> None:
        """Promise less, because memory ran out: once for each time, and again if it lasts."""
        if self._short_readings % _PATIENCE == 0:
            self.reserve = min(MOST_RESERVE, self.reserve * _RISE)
        self._short_readings += 1

    def sufficed(self, *, is_limiting: bool) -> None:
        """Note that nothing waits, and promise a little more if memory alone held work back."""
        self._short_readings = 0
        if is_limiting:
            self.reserve = max(_LEAST_RESERVE, self.reserve * _FALL)

    def forget(self) -> None:
        """Forget what the gauge showed, because the engine may have another cache now."""
        self._share = self._stated_share

    @property
    def learned(self) -> LearnedMemory:
        """What was learned so far."""
        return LearnedMemory(self.reserve, self._share, self._mean_output_tokens, self._ended)

    def take_over(self, learned: LearnedMemory) -> None:
        """Go on with what another replica has learned; of two mean answers the one of more answers counts."""
        self.reserve = learned.reserve
        if learned.share:
            self._share = learned.share
        if learned.answers > self._ended:
            self._mean_output_tokens, self._ended = learned.mean_output_tokens, learned.answers

    def take_over_capacity(self, tokens: int) -> None:
        """Take over how many tokens fit the cache; a number below 1 means that it is unknown."""
        if tokens > 0:
            self._share = 1 / tokens

    def _demand(self, request: RunningRequest) -> float:
        generated = _generated(request)
        growth = min(
            self.reserve * self._mean_output_tokens * request.sequences, max(0, request.max_output_tokens - generated)
        )
        demand = self._present(request, generated) + growth
        return demand if request.sequences == 1 else demand * self.running_part

    def _present(self, request: RunningRequest, generated: int) -> int:
        """The request's tokens in whole blocks; each further sequence ends in a block of its own."""
        blocks = -(-(request.prompt_tokens + generated) // self._block_tokens) + max(0, request.sequences - 1)
        return blocks * self._block_tokens


def _generated(request: RunningRequest) -> int:
    return request.output_tokens or request.accrued_tokens
