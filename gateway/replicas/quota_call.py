"""What a replica and the store say to each other about the limits of tenants.

`quotas.lua` is the other side and describes its keys. All amounts are integers: places, requests or tokens; times are
milliseconds of the store's clock. Left to others: what is said (`shared_limits`, `quota_book`), and how it is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from gateway.replicas.script import AccountScript, Status, as_text

QUOTAS: Final = AccountScript("quotas.lua", "vtcq1", ("meta", "replicas", "limits", "claimed"))
MOST_ROWS: Final = 64  # limits that a call names
NEVER_TOLD: Final = -1  # where a report knows no total of grants, or no level


class LimitReport(NamedTuple):
    """What the caller holds of one limit, and what it lacks.

    `held` includes all of the `granted` that it has heard of, which is `NEVER_TOLD` until the store has confirmed the
    limit to it. `used` of it are places in use. `spent` is a total that
    only the caller moves, of which the store has confirmed `confirmed`. `known` is the level of a rate as it was last
    stated and has refilled since, and `left` what nobody held of it then. Who waits needs at least `need`, and the
    caller could use `want`.
    """

    name: str
    most: int
    is_rate: bool
    granted: int = NEVER_TOLD
    held: int = 0
    used: int = 0
    spent: int = 0
    confirmed: int = 0
    known: int = NEVER_TOLD
    left: int = NEVER_TOLD
    need: int = 0
    want: int = 0


@dataclass(frozen=True, slots=True)
class QuotaCall:
    """All that a replica says in one call."""

    name: str
    boot: str
    incarnation: int
    number: int
    store: str  # the server's run id, which the caller asked for when it connected
    new_generation: str
    generation: str = ""
    seq: int = 0
    claims: int = 0
    expected: int = 1  # replicas that there may be
    is_registering: bool = False
    has_told_all: bool = True
    is_leaving: bool = False
    limits: Sequence[LimitReport] = ()

    def arguments(self) -> list[str | int | bytes]:
        """The arguments of the script, in order."""
        words: list[str | int | bytes] = [self.name, self.boot, self.incarnation, self.number]
        words += [self.store, self.new_generation, self.generation, self.seq, self.claims, self.expected]
        words += [int(self.is_registering), int(self.has_told_all), int(self.is_leaving), len(self.limits)]
        for report in self.limits:
            words += [int(value) if isinstance(value, bool) else value for value in report]
        return words


class LimitState(NamedTuple):
    """A limit as the store has it: what the caller was granted in all, what is left for anybody, the level of a rate.

    Of what was `granted` the caller had not heard of `given`. `wanted` is 2 if others wait for places, 1 if somebody
    has lacked some lately, else 0. The store has forgotten a limit that `is_gone`: nobody holds any of it.
    """

    name: str
    granted: int
    given: int
    left: int
    level: int
    wanted: int
    is_gone: bool


@dataclass(frozen=True, slots=True)
class QuotaReply:
    """The store's answer; what follows `now` has a meaning only if the status is OK."""

    status: Status
    generation: str
    seq: int
    now: int
    replicas: int = 0
    is_settled: bool = False
    claims: int = 0
    has_more_claims: bool = False
    limits: Sequence[LimitState] = ()
    claimed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class QuotaMessage:
    """What the store states to a replica between its calls: grants, limits of which others lack some, limits in use."""

    generation: str
    incarnation: int
    grants: Sequence[tuple[str, int]] = ()
    wanted: Sequence[str] = ()
    claimed: Sequence[str] = ()


def read_reply(words: Sequence[Any]) -> QuotaReply:
    """The reply in `words`, as the store's protocol has it."""
    status, generation, seq, now = words[:4]
    if status != Status.OK:
        return QuotaReply(Status(status), as_text(generation), seq, now)
    replicas, is_settled, claims, more, limits, claimed = words[4:]
    return QuotaReply(
        Status.OK,
        as_text(generation),
        seq,
        now,
        replicas,
        bool(is_settled),
        claims,
        bool(more),
        [_limit_state(*row) for row in limits],
        [as_text(name) for name in claimed],
    )


def _limit_state(name: bytes | str, *numbers: int) -> LimitState:
    granted, given, left, level, wanted, is_gone = numbers
    return LimitState(as_text(name), granted, given, left, level, wanted, bool(is_gone))


def read_message(body: bytes) -> QuotaMessage:
    """The message in `body`, which is JSON; an empty list may come as an empty object."""
    generation, incarnation, flat, wanted, claimed = orjson.loads(body)
    words = list(flat)
    grants = list(zip(words[::2], words[1::2], strict=True))
    return QuotaMessage(generation, incarnation, grants, list(wanted), list(claimed))
