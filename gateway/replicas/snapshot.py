"""Frozen views of what this gateway shares with others, for metrics and the state dump; rooms are in sequences."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallsSnapshot:
    """The calls to the store since the start.

    `counts` are numbers of calls by their time: one for each of the ascending bounds `bounds_seconds`, and the last one
    for those that took longer. They sum up to `answered` + `failed`, and their times to `seconds`.
    """

    answered: int
    failed: int
    seconds: float
    bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SharedWorkerSnapshot:
    """The room at one worker: what this gateway holds of it, and what the store said last of all gateways together.

    `idle` is the part of `held` that no request uses. `ghosts` is what gateways held that have died since.
    """

    worker: str
    held: int
    idle: int
    window: int
    held_by_all: int
    idle_of_all: int
    ghosts: int


@dataclass(frozen=True, slots=True)
class SharedPoolSnapshot:
    """One pool, as the store said last.

    `living` gateways share it, this one among them. Its `rank` is its place among them by name. Of the others,
    `with_other_settings` have another configuration. `spread` is how far the counters of waiting tenants lie apart over
    all gateways, in cost units, and `spread_bound` the most that it may be.
    """

    pool: str
    living: int
    rank: int
    with_other_settings: int
    spread: float
    spread_bound: float
    workers: tuple[SharedWorkerSnapshot, ...]


@dataclass(frozen=True, slots=True)
class SharedLimitSnapshot:
    """One limit of one tenant, in the unit of the `limit`, a key of the configuration: places, or those of a rate.

    This gateway may use `held` of all that `most` allows: places, those in use among them, or requests or tokens that
    are not spent yet. All gateways together have `taken` so much, as the store said last: held places, or what they
    hold of a rate and have spent of it. With `is_refusing` this gateway has refused a request in the last minute,
    because it held too little and got no more when it asked the store.
    """

    tenant: str
    limit: str
    most: int
    held: int
    taken: int
    is_refusing: bool


@dataclass(frozen=True, slots=True)
class ReplicasSnapshot:
    """This gateway among those that share its account.

    `failure` says what fails: the last call, a call about limits, or the messages of the store; it is empty if nothing
    does. `age_seconds` is the time since the last answered call, or since the start if none was answered. `limits` are
    those of tenants that use more of one than each gateway has without asking.
    """

    fleet: str
    name: str
    expected: int
    failure: str
    age_seconds: float
    calls: CallsSnapshot
    pools: tuple[SharedPoolSnapshot, ...]
    limits: tuple[SharedLimitSnapshot, ...] = ()
