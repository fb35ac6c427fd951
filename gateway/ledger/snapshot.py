"""What the ledger says about itself, for metrics and the state dump."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FollowerSnapshot:
    """How the follower fares; `failure` says why it cannot send now, "" if it can. The other figures are counts."""

    failure: str
    sent_rows: int
    behind_rows: int
    failures: int
    lost_rows: int


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """How the writer fares; `failure` says why it cannot write now, "" if it can. The other figures are counts.

    `postgres` is the follower; None if no database gets the rows.
    """

    failure: str
    written_rows: int
    waiting_rows: int
    dropped_rows: int
    orphans: int
    moved_files: int
    postgres: FollowerSnapshot | None = None
