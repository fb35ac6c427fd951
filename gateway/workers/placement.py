"""Which of a pool's workers a request goes to: where its prompt is cached if that is worth it, else the least loaded.

Only workers that serve and have room for the request are looked at, and one of them is always found where there is one:
placement never makes a request wait. Load is what is in flight relative to the worker's own window, so workers of
different size and speed each get their share. The order of tenants is not decided here; what they may be ahead for the
sake of a cached prompt is the quantum rule's of `fairness`.

The worker with the longest match is passed over where the tenant has used up its deficit there and a less loaded worker
has room: one tenant's beginnings must not crowd one worker while others stand by. So is a worker that failed the
tenant of late: one that fails fast is never busy, and must not draw requests by that.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from gateway.workers.deficits import DEFAULT_QUANTUM_TOKENS, Deficits
from gateway.workers.prefixes import PrefixIndex, Sighting, cached_tokens

MANY_WORKERS = 16  # beyond so many, some are drawn and the least loaded of them taken, instead of looking at all
# The power of two choices with two more: of two, both would too often be of the smallest windows where those differ.
DRAWS = 4


class Placed(Protocol):
    """What is read of a request."""

    tenant: str
    prompt_tokens: int
    reserved_tokens: int
    prefix: tuple[int, ...]
    avoid: str


class Seat(Protocol):
    """What is read of a worker; its name is unique."""

    @property
    def name(self) -> str: ...
    @property
    def serves(self) -> bool: ...
    @property
    def load(self) -> float: ...
    def is_shunned_by(self, tenant: str, /) -> bool: ...


_Seat = TypeVar("_Seat", bound=Seat)
_Request = TypeVar("_Request", bound=Placed)
Fits = Callable[[_Seat, _Request], bool]


class _Draw:
    """Numbers that look random and are the same in every run (Knuth's MMIX generator)."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = 1

    def below(self, bound: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % bound


class Placement(Generic[_Seat, _Request]):
    """The workers of one pool, the choice among them, and what is known of their caches."""

    def __init__(self) -> None:
        """A pool without workers."""
        self._index = PrefixIndex()
        self._deficits = Deficits()
        self._draw = _Draw()
        self.seats: list[_Seat] = []
        self._slots: dict[str, int] = {}
        self._seat_of: dict[int, _Seat] = {}
        self._sightings: dict[_Request, tuple[str, Sighting]] = {}  # of requests in flight

    # -- workers

    def join(self, seat: _Seat) -> None:
        """A worker is there, its cache empty."""
        slot = next(slot for slot in range(len(self.seats) + 1) if slot not in self._seat_of)
        self._slots[seat.name], self._seat_of[slot] = slot, seat
        self.seats.append(seat)
        self._index.add(slot)

    def leave(self, seat: _Seat) -> None:
        """A worker has gone."""
        self.seats.remove(seat)
        slot = self._slots.pop(seat.name)
        del self._seat_of[slot]
        self._index.remove(slot)
        self._deficits.forget(seat.name)

    def restarted(self, name: str) -> None:
        """A worker has lost its cache."""
        self._index.clear(self._slots[name])

    def bound(self, name: str, kv_tokens: int) -> None:
        """A worker has told the size of its KV cache; less than 1: it has not."""
        if kv_tokens > 0:
            self._index.bound(self._slots[name], kv_tokens)

    def set_quantum(self, tokens: float) -> None:
        """What a tenant may spend at one worker ahead of the others, where that is more than the usual."""
        self._deficits.quantum_tokens = max(DEFAULT_QUANTUM_TOKENS, tokens)

    # -- choosing

    def choose(self, request: _Request, fits: Fits[_Seat, _Request]) -> _Seat | None:
        """The worker for `request`, None where it fits none now."""
        if len(self.seats) == 1:  # whatever is cached, and whichever worker is to be avoided
            seat = self.seats[0]
            return seat if seat.serves and fits(seat, request) else None
        return self._nearest(request, fits) if request.prefix else self._least_loaded(request, fits)

    def _nearest(self, request: _Request, fits: Fits[_Seat, _Request]) -> _Seat | None:
        nearest: _Seat | None = None
        for seat, _ in self._knowing(request, fits):
            has_deficit = self._deficits.left(request.tenant, seat.name) > 0
            if nearest is None and has_deficit:
                return seat
            if nearest is not None and has_deficit and seat.load < nearest.load:
                return seat
            nearest = nearest or seat
        other = self._least_loaded(request, fits)
        return other if nearest is None or (other is not None and other.load < nearest.load) else nearest

    def affinity(self, request: _Request, fits: Fits[_Seat, _Request]) -> int:
        """Prompt tokens cached where `request` would go now; 0 where the tenant's deficit there is used up."""
        if not request.prefix:
            return 0
        for seat, blocks in self._knowing(request, fits):
            if self._deficits.left(request.tenant, seat.name) > 0:
                return cached_tokens(request.prompt_tokens, len(request.prefix), blocks)
        return 0

    def _knowing(self, request: _Request, fits: Fits[_Seat, _Request]) -> Iterator[tuple[_Seat, int]]:
        """Workers with room that have a beginning of the prompt cached, the longest first, ties by load."""
        for blocks, slots in self._index.holders(request.prefix):
            known = [self._seat_of[slot] for slot in slots]
            usable = [
                seat
                for seat in known
                if seat.serves
                and seat.name != request.avoid
                and not seat.is_shunned_by(request.tenant)
                and fits(seat, request)
            ]
            for seat in sorted(usable, key=_load):
                yield seat, blocks

    def _least_loaded(self, request: _Request, fits: Fits[_Seat, _Request]) -> _Seat | None:
        seats = self.seats
        if len(seats) > MANY_WORKERS:
            drawn = [seats[self._draw.below(len(seats))] for _ in range(DRAWS)]
            fitting = [seat for seat in drawn if seat.serves and seat.name != request.avoid and fits(seat, request)]
            if fitting:
                return _best(fitting, request)
        serving = [seat for seat in seats if seat.serves]
        others = [seat for seat in serving if seat.name != request.avoid] or serving
        return _best([seat for seat in others if fits(seat, request)], request)

    # -- learning

    def sent(self, request: _Request, name: str) -> None:
        """`request` goes to the worker `name`, which will have its prompt cached."""
        if not request.prefix:
            return
        sighting = self._index.send(self._slots[name], request.prefix)
        self._sightings[request] = (name, sighting)
        found = cached_tokens(request.prompt_tokens, len(request.prefix), sighting.found)
        tokens = request.prompt_tokens - found + request.reserved_tokens
        if self._deficits.spend(request.tenant, name, tokens):
            self._deficits.refill(request.tenant, {seat.name for seat in self.seats if seat.serves})

    def counted(self, request: _Request, prompt_tokens: int, found_tokens: int) -> None:
        """The engine has counted the prompt of `request`, and how much of it was cached."""
        name, sighting = self._sightings.get(request, ("", None)) if request.prefix else ("", None)
        if sighting is not None and name in self._slots:
            self._index.report(self._slots[name], sighting, len(request.prefix), prompt_tokens, found_tokens)

    def ended(self, request: _Request) -> None:
        """`request` is no longer at its worker."""
        name, sighting = self._sightings.pop(request, ("", None)) if request.prefix else ("", None)
        if sighting is not None and name in self._slots:
            self._index.answered(self._slots[name], sighting)

    # -- views

    def held(self, name: str) -> tuple[int, float]:
        """Blocks and tokens that a worker is believed to have cached."""
        return self._index.held(self._slots[name])

    @property
    def is_idle(self) -> bool:
        """True where nothing is kept of a request in flight."""
        return not self._sightings


def _load(seat: Seat) -> float:
    return seat.load


def _best(seats: list[_Seat], request: Placed) -> _Seat | None:
    """The least loaded; one that failed the tenant of late only where all have, so that failing fast draws no load."""
    best = min(seats, key=_load, default=None)
    if best is None or not best.is_shunned_by(request.tenant):
        return best
    return min((seat for seat in seats if not seat.is_shunned_by(request.tenant)), key=_load, default=best)
