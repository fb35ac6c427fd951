"""What the ledger says about itself, for metrics and the state dump."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """How the writer fares; `failure` says why it cannot write now, "" if it can. The other figures are counts."""

    failure: str
    written_rows: int
    waiting_rows: int
    dropped_rows: int
    orphans: int
    moved_files: int
