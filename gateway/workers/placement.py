"""Chooses the worker of a request: where its prompt is cached if that is worth it, else the least loaded worker.

Only workers that serve and have room for the request are considered. If there is one, it is found. Placement makes a
request wait in one case only: the worker with room has just failed it, and another worker that serves is full. Load is
what is in flight relative to the worker's own window, so workers of different size and speed each get their share. Left
to `fairness`: the order of tenants, and how far a tenant may get ahead for the sake of a cached prompt.

Two kinds of workers are passed over although they have the longest match. One is a worker where the tenant has used up
its deficit, if a less loaded worker has room: one tenant's prompts must not crowd one worker while others stand by. The
other is a worker at which a request of the tenant failed lately: a worker that fails fast is never busy, and it must
not attract requests by that.

If other replicas place requests at the same workers, a prompt that no cache has goes to the worker that all of them
choose (`rendezvous`), among those that are nearly least loaded. So its next turn is found cached, whichever replica
gets it.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from gateway.draws import Draws
from gateway.workers.deficits import DEFAULT_QUANTUM_TOKENS, Deficits
from gateway.workers.prefixes import CachedPrefix, PrefixIndex, cached_tokens
from gateway.workers.rendezvous import WORD_MASK, score, worker_word

MANY_WORKERS = 16  # of more workers than this only a few are drawn, and the least loaded of these is taken
# The power of two choices, with two more: if windows differ, both of two draws would too often have the smallest.
DRAWS = 4
NEARLY = 1 / 8  # workers whose loads differ by no more than this part of their windows are about equally loaded


class Placed(Protocol):
    """What placement reads of a request."""

    tenant: str
    prompt_tokens: int
    reserved_tokens: int
    prefix: tuple[int, ...]
    avoid: str


class Candidate(Protocol):
    """What placement reads of a worker; its name is unique."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def serves(self) -> bool:
        """True if it may be given requests."""
        ...

    @property
    def load(self) -> float:
        """What is in flight, as a part of its window."""
        ...

    def is_shunned_by(self, tenant: str, /) -> bool:
        """True if a request of `tenant` failed there lately."""
        ...


_Candidate = TypeVar("_Candidate", bound=Candidate)
_Request = TypeVar("_Request", bound=Placed)
Fits = Callable[[_Candidate, _Request], bool]


class Placement(Generic[_Candidate, _Request]):
    """The workers of one pool, the choice among them, and what is known about their caches."""

    def __init__(self, *, is_shared: bool = False) -> None:
        """Start without workers; `is_shared` means that other replicas place requests at them too."""
        self._is_shared = is_shared
        self._words: dict[str, int] = {}  # what stands for each worker in `rendezvous`
        self._index = PrefixIndex()
        self._deficits = Deficits()
        self._draws = Draws(1)
        self.candidates: list[_Candidate] = []
        self._slots: dict[str, int] = {}
        self._candidate_at: dict[int, _Candidate] = {}
        self._cached: dict[_Request, tuple[str, CachedPrefix]] = {}  # of requests in flight

    # -- workers

    def join(self, candidate: _Candidate) -> None:
        """Add a worker with an empty cache."""
        slot = next(slot for slot in range(len(self.candidates) + 1) if slot not in self._candidate_at)
        self._slots[candidate.name], self._candidate_at[slot] = slot, candidate
        self.candidates.append(candidate)
        if self._is_shared:
            self.candidates.sort(key=_name)  # draws must agree too
            self._words[candidate.name] = worker_word(candidate.name)
        self._index.add(slot)

    def leave(self, candidate: _Candidate) -> None:
        """Remove a worker."""
        self.candidates.remove(candidate)
        slot = self._slots.pop(candidate.name)
        del self._candidate_at[slot]
        self._words.pop(candidate.name, None)
        self._index.remove(slot)
        self._deficits.forget(candidate.name)

    def restarted(self, name: str) -> None:
        """Note that a worker has lost its cache."""
        self._index.clear(self._slots[name])

    def bound(self, name: str, kv_tokens: int) -> None:
        """Take over the size of a worker's KV cache; a number below 1 means that it is unknown."""
        if kv_tokens > 0:
            self._index.bound(self._slots[name], kv_tokens)

    def set_quantum(self, tokens: float) -> None:
        """Set the quantum, how much a tenant may spend at one worker ahead of the others; at least the default."""
        self._deficits.quantum_tokens = max(DEFAULT_QUANTUM_TOKENS, tokens)

    # -- choosing

    def choose(self, request: _Request, fits: Fits[_Candidate, _Request]) -> _Candidate | None:
        """The worker for `request`; None if no worker has room now."""
        if len(self.candidates) == 1:  # whatever is cached, and whichever worker is to be avoided
            candidate = self.candidates[0]
            return candidate if candidate.serves and fits(candidate, request) else None
        return self._nearest(request, fits) if request.prefix else self._least_loaded(request, fits)

    def _nearest(self, request: _Request, fits: Fits[_Candidate, _Request]) -> _Candidate | None:
        nearest, blocks = self._match(request, fits)
        if blocks:
            return nearest
        if nearest is None and self._is_shared:
            return self._agreed(request, fits)
        other = self._least_loaded(request, fits)
        return other if nearest is None or (other is not None and other.load < nearest.load) else nearest

    def affinity(self, request: _Request, fits: Fits[_Candidate, _Request]) -> int:
        """How many prompt tokens are cached where `request` would go now; 0 if the tenant's deficit is used up."""
        if not request.prefix:
            return 0
        _, blocks = self._match(request, fits)
        return cached_tokens(request.prompt_tokens, len(request.prefix), blocks)

    def preferred(self, request: _Request) -> str:
        """The worker where `request` should run, whether it has room or not; "" if any other does as well."""
        if not request.prefix or len(self.candidates) == 1:
            return ""
        preferred, blocks = self._match(request, _always)
        if preferred is None:
            preferred = self._agreed(request, _always)
        elif not blocks:
            return ""
        return "" if preferred is None else preferred.name

    def _match(self, request: _Request, fits: Fits[_Candidate, _Request]) -> tuple[_Candidate | None, int]:
        """The worker with the longest match and its blocks, 0 if the tenant's deficit there is used up.

        In that case a less loaded worker with a shorter match and a deficit is taken instead.
        """
        nearest: _Candidate | None = None
        for candidate, blocks in self._knowing(request, fits):
            has_deficit = self._deficits.left(request.tenant, candidate.name) > 0
            if has_deficit and (nearest is None or candidate.load < nearest.load):
                return candidate, blocks
            nearest = nearest or candidate
        return nearest, 0

    def _knowing(self, request: _Request, fits: Fits[_Candidate, _Request]) -> Iterator[tuple[_Candidate, int]]:
        """Workers with room that have a beginning of the prompt cached: the longest first, ties by load."""
        for blocks, slots in self._index.holders(request.prefix):
            known = [self._candidate_at[slot] for slot in slots]
            usable = [
                candidate
                for candidate in known
                if candidate.serves
                and candidate.name != request.avoid
                and not candidate.is_shunned_by(request.tenant)
                and fits(candidate, request)
            ]
            for candidate in sorted(usable, key=_load):
                yield candidate, blocks

    def _least_loaded(self, request: _Request, fits: Fits[_Candidate, _Request]) -> _Candidate | None:
        candidates = self.candidates
        if len(candidates) > MANY_WORKERS:
            drawn = [candidates[self._draws.below(len(candidates))] for _ in range(DRAWS)]
            fitting = [
                candidate
                for candidate in drawn
                if candidate.serves and candidate.name != request.avoid and fits(candidate, request)
            ]
            if fitting:
                return _best(fitting, request)
        serving = [candidate for candidate in candidates if candidate.serves]
        others = [candidate for candidate in serving if candidate.name != request.avoid] or serving
        return _best([candidate for candidate in others if fits(candidate, request)], request)

    def _agreed(self, request: _Request, fits: Fits[_Candidate, _Request]) -> _Candidate | None:
        """The nearly least loaded worker that all replicas choose for a prompt that no cache has."""
        first, candidates = request.prefix[0] & WORD_MASK, self.candidates
        if len(candidates) > MANY_WORKERS:
            draws = Draws(first)
            candidates = [candidates[draws.below(len(candidates))] for _ in range(DRAWS)]
        usable = [
            candidate
            for candidate in candidates
            if candidate.serves
            and candidate.name != request.avoid
            and not candidate.is_shunned_by(request.tenant)
            and fits(candidate, request)
        ]
        if not usable:
            return self._least_loaded(request, fits)
        most_load = min(map(_load, usable)) + NEARLY
        words = self._words
        return max(
            (candidate for candidate in usable if candidate.load <= most_load),
            key=lambda candidate: score(first, words[candidate.name]),
        )

    # -- learning

    def sent(self, request: _Request, name: str) -> None:
        """Note that `request` goes to the worker `name`, which will have its prompt cached."""
        if not request.prefix:
            return
        cached = self._index.send(self._slots[name], request.prefix)
        self._cached[request] = (name, cached)
        found = cached_tokens(request.prompt_tokens, len(request.prefix), cached.found)
        tokens = request.prompt_tokens - found + request.reserved_tokens
        if self._deficits.spend(request.tenant, name, tokens):
            self._deficits.refill(request.tenant, {candidate.name for candidate in self.candidates if candidate.serves})

    def counted(self, request: _Request, prompt_tokens: int, found_tokens: int) -> None:
        """Learn how many tokens the engine counted in the prompt of `request`, and how many it found cached."""
        name, cached = self._cached.get(request, ("", None)) if request.prefix else ("", None)
        if cached is not None and name in self._slots:
            self._index.report(self._slots[name], cached, len(request.prefix), prompt_tokens, found_tokens)

    def ended(self, request: _Request) -> None:
        """Note that `request` is no longer at its worker."""
        name, cached = self._cached.pop(request, ("", None)) if request.prefix else ("", None)
        if cached is not None and name in self._slots:
            self._index.answered(self._slots[name], cached)

    # -- views

    def cached_size(self, name: str) -> tuple[int, float]:
        """How many blocks and tokens a worker is believed to have cached."""
        return self._index.cached_size(self._slots[name])

    @property
    def is_idle(self) -> bool:
        """True if nothing is kept about requests in flight."""
        return not self._cached

    def check_invariants(self) -> None:
        """Assert everything that can be summed."""
        self._index.check_invariants()
        self._deficits.check_invariants()


def _always(candidate: Candidate, request: Placed) -> bool:
    return True


def _name(candidate: Candidate) -> str:
    return candidate.name


def _load(candidate: Candidate) -> float:
    return candidate.load


def _best(candidates: list[_Candidate], request: Placed) -> _Candidate | None:
    """The least loaded worker; one at which the tenant's request failed lately is taken only if there is no other."""
    best = min(candidates, key=_load, default=None)
    if best is None or not best.is_shunned_by(request.tenant):
        return best
    return min(
        (candidate for candidate in candidates if not candidate.is_shunned_by(request.tenant)), key=_load, default=best
    )
