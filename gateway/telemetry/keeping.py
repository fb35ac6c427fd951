"""Metrics of the ledger. A gateway that keeps none has none of them."""

from gateway.ledger.snapshot import LedgerSnapshot
from gateway.telemetry.catalogue import LedgerFamilies


def show_ledger(families: LedgerFamilies, ledger: LedgerSnapshot) -> None:
    """Show what `ledger` says in the scrape being written."""
    families.works.show((), int(not ledger.failure))
    families.written.series(()).value = ledger.written_rows
    families.waiting.show((), ledger.waiting_rows)
    families.dropped.series(()).value = ledger.dropped_rows
    families.orphans.series(()).value = ledger.orphans
    families.moved.series(()).value = ledger.moved_files
