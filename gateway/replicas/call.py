"""What a replica and the store say to each other: the arguments of a call, its reply, and messages between calls.

`turn.lua` is the other side and describes its keys. All amounts are integers: counters in wire units, room in sequences
and tokens, times in milliseconds of the store's clock. The arguments are plain text (candidates are JSON), and the
reply is the protocol's own integers and lists. So no number loses a digit, as it would in JSON that Lua writes. Left to
others: what is said, and how it is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from gateway.replicas.script import AccountScript, Status, as_text

UNUSED: Final = "unused"  # the key that says, in a new store, that nobody has used the account before
TURN: Final = AccountScript("turn.lua", "vtc1", ("meta", "flows", "changed", "replicas", "held", "room", UNUSED))
MOST_CANDIDATES: Final = 16  # requests that a call names
MOST_FLOWS: Final = 128  # flows that a call reports; less than the reply's page, so that pages make progress
NOBODY: Final = -1  # where a reply names no counter
A_KEY: Final = -1  # in place of a level: the flow is a key, below which nobody competes


class Candidate(NamedTuple):
    """A request that waits: the counters of its tenant and key when its turn comes, and the room that it needs."""

    counter: int
    tenant: str
    key_counter: int
    sequences: int = 1
    prompt_tokens: int = 0
    kv: int = 0
    worker: str = ""  # the one preferred


class FlowReport(NamedTuple):
    """What one replica charged to one flow.

    `total` is all that it ever charged, net of refunds; the store has confirmed `acknowledged` of it. The counter is at
    least `floor`, the level of its last lift, and at least `total + base`.
    """

    name: str
    total: int
    acknowledged: int = 0
    floor: int = 0
    base: int = 0
    level: int = A_KEY
    is_gone: bool = False


class WorkerReport(NamedTuple):
    """What the caller has at a worker, in sequences: what it was granted in all, and what it gave back of that.

    It counts from the call in which it registers, where `granted` is what it holds. `idle` of that is not in use.
    `unread` is prompt tokens. `metered` is output tokens and `ended` sequences whose requests ended, totals that never
    fall. If it is not `is_open`, the caller cannot use the worker and gets no room there.
    """

    name: str
    granted: int
    returned: int = 0
    idle: int = 0
    unread: int = 0
    kv: int = 0
    metered: int = 0
    ended: int = 0
    is_open: bool = True


class Reading(NamedTuple):
    """The window that the tuner found out; `at` is the store's time in the last reply before the engine was asked.

    `strangers` are sequences at the engine that no living replica uses (`strangers`). A blind reading is one without
    the engine's figures: it ends only ghosts that are a minute older.
    """

    worker: str
    sequences: int
    prompt_tokens: int
    kv: int
    at: int
    strangers: int = 0
    is_blind: bool = False
    state: str = ""


class Figures(NamedTuple):
    """What the bound over the fleet needs (`spread`), in wire units: of one replica, or of all living ones together.

    `exposure` and `refundable` are E and R of docs/fairness.md, section 8. `unreported` is the most that was charged to
    one flow and not reported yet, `unheard` the most that had been reported and not heard yet. Of all replicas together
    the first three are sums. `greatest` and `least` are counters that wait.
    """

    exposure: int = 0
    refundable: int = 0
    unreported: int = 0
    unheard: int = 0
    greatest: int = NOBODY
    least: int = NOBODY

    @property
    def spread(self) -> int:
        """How far the counters that wait lie apart."""
        return max(0, self.greatest - self.least) if NOBODY not in (self.greatest, self.least) else 0

    @property
    def bound(self) -> int:
        """How far they may lie apart at most; 0 if nobody waits."""
        return 0 if self.greatest == NOBODY else self.exposure + self.refundable + 2 * (self.unreported + self.unheard)


NO_FIGURES: Final = Figures()


@dataclass(frozen=True, slots=True)
class Call:
    """All that a replica says in one call."""

    name: str
    boot: str
    incarnation: int
    number: int
    settings: str
    lease: int  # milliseconds; a replica that is silent for longer is taken for dead
    store: str  # the server's run id, which the caller asked for when it connected
    new_generation: str
    generation: str = ""
    seq: int = 0
    changes: int = 0
    is_registering: bool = False
    is_leaving: bool = False  # the last call: the caller gets nothing more
    vt: int = 0
    spare: int = 0
    has_more: bool = False
    figures: Figures = NO_FIGURES
    flows: Sequence[FlowReport] = ()
    workers: Sequence[WorkerReport] = ()
    readings: Sequence[Reading] = ()
    candidates: Sequence[Candidate] = ()

    def arguments(self) -> list[str | int | bytes]:
        """The arguments of the script, in order."""
        words: list[str | int] = [self.name, self.boot, self.incarnation, self.number, self.settings]
        words += [self.lease, self.store, self.new_generation, self.generation, self.seq, self.changes]
        words += [int(self.is_registering), int(self.is_leaving), self.vt, self.spare, int(self.has_more)]
        words += self.figures
        for rows in (self.flows, self.workers, self.readings):
            words.append(len(rows))
            for row in rows:
                words += [int(value) if isinstance(value, bool) else value for value in row]
        return [*words, len(self.candidates), *(orjson.dumps(tuple(row)) for row in self.candidates)]


class Grant(NamedTuple):
    """How many sequences of a worker were ever granted to a replica since it registered."""

    worker: str
    granted: int


class WorkerState(NamedTuple):
    """A worker as the store has it: its window, the time of the reading behind it, what all replicas hold there.

    `idle` is held and not in use, as far as the replicas have said. `metered` is what all of them metered, dead ones
    too, and `ended` what has ended.
    `ghosts` are the sequences that dead replicas held, until a later reading of the engine. `strangers` is what the
    latest one showed of those that no living replica uses. A worker is uncounted while no reading has shown what is
    there since the store began anew.
    """

    name: str
    sequences: int
    prompt_tokens: int
    kv: int
    reading: int
    held: int
    unread: int
    held_kv: int
    idle: int
    metered: int
    ended: int
    ghosts: int
    strangers: int
    is_uncounted: bool = False
    state: str = ""

    @property
    def free(self) -> int:
        """Sequences that the store may grant."""
        return max(0, self.sequences - self.held - self.ghosts - self.strangers)

    @property
    def is_in_question(self) -> bool:
        """True if sequences may run there that no living replica uses."""
        return self.is_uncounted or self.ghosts + self.strangers > 0


class FlowState(NamedTuple):
    """A flow as the store has it: what all replicas charged and lifted, its floor, the level of its keys."""

    name: str
    sum: int
    floor: int
    level: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The store's answer; what follows `now` has a meaning only if the status is OK."""

    status: Status
    generation: str
    seq: int
    now: int
    vt: int = 0
    living: int = 0
    rank: int = 0  # the caller's place among the living by name; the first is 0
    with_other_settings: int = 0
    least_elsewhere: int = NOBODY
    tenant_elsewhere: str = ""
    key_counter_elsewhere: int = 0
    figures: Figures = NO_FIGURES
    oldest: int = 0  # the earliest of the times at which the living called last
    changes: int = 0
    has_more_changes: bool = False
    grants: Sequence[Grant] = ()
    workers: Sequence[WorkerState] = ()
    flows: Sequence[FlowState] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """What the store states to a replica between its calls."""

    generation: str
    incarnation: int
    seq: int
    is_recall: bool
    is_asked: bool
    grants: Sequence[Grant] = ()


def read_reply(words: Sequence[Any]) -> Reply:
    """The reply in `words`, as the store's protocol has it."""
    status, generation, seq, now = words[:4]
    if status != Status.OK:
        return Reply(Status(status), as_text(generation), seq, now)
    vt, living, rank, others, least, tenant, key_counter, figures, oldest, *rest = words[4:]
    changes, more, grants, workers, flows = rest
    return Reply(
        Status.OK,
        as_text(generation),
        seq,
        now,
        vt,
        living,
        rank,
        others,
        least,
        as_text(tenant),
        key_counter,
        Figures(*figures),
        oldest,
        changes,
        bool(more),
        [Grant(as_text(name), granted) for name, granted in grants],
        [_worker_state(row) for row in workers],
        [FlowState(as_text(name), *numbers) for name, *numbers in flows],
    )


def read_message(body: bytes) -> Message:
    """The message in `body`, which is JSON; an empty list may come as an empty object."""
    generation, incarnation, seq, recall, ask, flat = orjson.loads(body)
    words = list(flat)
    grants = [Grant(name, granted) for name, granted in zip(words[::2], words[1::2], strict=True)]
    return Message(generation, incarnation, seq, bool(recall), bool(ask), grants)


def _worker_state(row: Sequence[Any]) -> WorkerState:
    name, *amounts, is_uncounted, state = row
    return WorkerState._make((as_text(name), *amounts, bool(is_uncounted), as_text(state)))
