"""The room that one replica holds: what was granted, what it gave back, what is in use, what is left at hand.

Grants and returns are two totals for each worker. The store alone moves the first, the replica alone the second, so a
message may be lost, repeated or come late. What is held is their difference. What is at hand was either *granted* for
a request that waits, and goes to whoever is first now; or it is the replica's *own*: freed by its own requests, or
spare. The replica may use its own only while no request that waits elsewhere has a lower counter. All in sequences.
"""

from collections.abc import Callable, Mapping
from enum import Enum, auto

from gateway.replicas.call import WorkerReport


class Permit(Enum):
    """Which room a request may use."""

    NOTHING = auto()
    GRANTED = auto()  # what the store gave for a request that waits
    OWN = auto()  # that, and what the replica freed itself or keeps as spare
    ALLOWED = auto()  # what the engines' readings allow without the store


class Room:
    """What a replica holds at one worker."""

    __slots__ = ("ended", "fresh", "granted", "own", "returned", "used")

    def __init__(self) -> None:
        """Hold nothing."""
        self.granted = 0
        self.returned = 0
        self.used = 0
        self.fresh = 0  # granted for requests that wait, not yet used
        self.own = 0
        self.ended = 0  # a total that never falls

    @property
    def held(self) -> int:
        """Sequences that count against the window."""
        return self.used + self.idle

    @property
    def idle(self) -> int:
        """Sequences that are held and not in use; negative while a request uses more than was there."""
        return self.fresh + self.own


class RoomBook:
    """What a replica holds at each worker."""

    def __init__(self) -> None:
        """Hold nothing anywhere."""
        self._rooms: dict[str, Room] = {}

    @property
    def rooms(self) -> Mapping[str, Room]:
        """By worker."""
        return self._rooms

    @property
    def own(self) -> int:
        """Sequences at hand that the replica freed itself or holds as spare, over all workers."""
        return sum(room.own for room in self._rooms.values())

    @property
    def idle(self) -> int:
        """Sequences that are held and not in use, over all workers."""
        return sum(room.idle for room in self._rooms.values())

    def _room(self, worker: str) -> Room:
        room = self._rooms.get(worker)
        if room is None:
            room = self._rooms[worker] = Room()
        return room

    def register(self) -> None:
        """Begin the totals anew with what is held now."""
        for room in self._rooms.values():
            room.granted, room.returned = room.held, 0

    def drop_idle(self) -> None:
        """Give back all that is not in use."""
        for room in self._rooms.values():
            room.returned += room.idle
            room.fresh = room.own = 0

    def keep_within(self, limit: Callable[[str], int]) -> None:
        """Give back what is at hand beyond a `limit` on what is in use, by worker."""
        for worker, room in self._rooms.items():
            own = min(max(0, room.idle), max(0, limit(worker) - room.used))
            room.returned += room.idle - own
            room.fresh, room.own = 0, own

    def draw(self, limit: Callable[[str], int]) -> None:
        """Have at hand what a `limit` on what is in use leaves, by worker; the next registration tells of it."""
        for worker, room in self._rooms.items():
            room.fresh, room.own = 0, max(0, limit(worker) - room.used)

    def leave(self, worker: str) -> None:
        """Give back all that is not in use at `worker`."""
        room = self._rooms[worker]
        if room.idle > 0:
            room.returned += room.idle
            room.fresh = room.own = 0

    def overdraw(self, worker: str, sequences: int) -> None:
        """Use room that was not granted; the next registration reports it."""
        self._room(worker).used += sequences

    def grant(self, worker: str, total: int) -> int:
        """Take in that `total` sequences were granted so far; how many of them are new."""
        room = self._room(worker)
        new = max(0, total - room.granted)
        room.granted += new
        room.fresh += new
        return new

    def used(self, worker: str) -> int:
        """Sequences in use at `worker`."""
        room = self._rooms.get(worker)
        return 0 if room is None else room.used

    def has_place(self, worker: str, permit: Permit) -> bool:
        """True if a place is at hand at `worker` that `permit` lets a request use."""
        room = self._rooms.get(worker)
        if room is None or permit is Permit.NOTHING:
            return False
        return room.fresh + (0 if permit is Permit.GRANTED else room.own) > 0

    def use(self, worker: str, sequences: int) -> None:
        """Use room for one request, granted room first; one of several sequences may use more than there is."""
        room = self._room(worker)
        from_fresh = min(room.fresh, sequences)
        room.fresh -= from_fresh
        room.own -= sequences - from_fresh
        room.used += sequences

    def end(self, worker: str, sequences: int) -> None:
        """A request ended: its room is the replica's own."""
        room = self._room(worker)
        room.used -= sequences
        room.own += sequences
        room.ended += sequences

    def meet(self, worker: str) -> None:
        """Take in that there is a worker, at which nothing may be held yet: the store hears of it."""
        self._room(worker)

    def forget(self, worker: str) -> None:
        """Forget a worker at which nothing is held; until the totals begin anew the store must grant nothing there."""
        assert self.is_empty(worker), "room is held where it is forgotten"
        del self._rooms[worker]

    def is_empty(self, worker: str) -> bool:
        """True if nothing is held at a worker."""
        room = self._rooms[worker]
        return not room.used and not room.idle

    def keep_fresh(self) -> None:
        """Nobody waits here any more: what was granted for it becomes the replica's own."""
        for room in self._rooms.values():
            room.own += room.fresh
            room.fresh = 0

    def give_back(self, keep: int) -> None:
        """Return what is the replica's own, but for `keep` sequences."""
        for room in self._rooms.values():
            back = max(0, min(room.own, self.own - keep)) if room.own > 0 else 0
            room.own -= back
            room.returned += back

    def reports(self, held: Callable[[str], tuple[int, int, int, bool]]) -> list[WorkerReport]:
        """What is reported to the store of every worker; `held` (`candidates.Workers`) says what is there."""
        return [_report(name, room, *held(name)) for name, room in self._rooms.items()]


def _report(name: str, room: Room, unread: int, kv: int, metered: int, is_open: bool) -> WorkerReport:
    return WorkerReport(name, room.granted, room.returned, max(0, room.idle), unread, kv, metered, room.ended, is_open)
