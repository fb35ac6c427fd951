"""Metrics of the ledger and of the webhook. A gateway that has none of either has none of its metrics."""

from gateway.ledger.snapshot import FollowerSnapshot, LedgerSnapshot
from gateway.telemetry.catalogue import FollowerFamilies, LedgerFamilies, WebhookFamilies
from gateway.webhook import WebhookSnapshot


def show_ledger(families: LedgerFamilies, ledger: LedgerSnapshot) -> None:
    """Show what `ledger` says in the scrape being written."""
    families.works.show((), int(not ledger.failure))
    families.written.series(()).value = ledger.written_rows
    families.waiting.show((), ledger.waiting_rows)
    families.dropped.series(()).value = ledger.dropped_rows
    families.orphans.series(()).value = ledger.orphans
    families.moved.series(()).value = ledger.moved_files


def show_follower(families: FollowerFamilies, follower: FollowerSnapshot) -> None:
    """Show what `follower` says in the scrape being written."""
    families.works.show((), int(not follower.failure))
    families.sent.series(()).value = follower.sent_rows
    families.behind.show((), follower.behind_rows)
    families.failures.series(()).value = follower.failures
    families.lost.series(()).value = follower.lost_rows


def show_webhook(families: WebhookFamilies, webhook: WebhookSnapshot) -> None:
    """Show what `webhook` says in the scrape being written."""
    families.works.show((), int(not webhook.failure))
    families.waiting.show((), webhook.waiting_events)
    families.delivered.series(()).value = webhook.delivered_events
    families.failed.series(()).value = webhook.failed_attempts
    families.dropped.series(()).value = webhook.dropped_events
