"""Every family of metrics that some gateway shows; which ones are shown depends on its configuration (`metrics`)."""

from gateway.telemetry.catalogue import (
    EventFamilies,
    FollowerFamilies,
    LedgerFamilies,
    ReplicaFamilies,
    StateFamilies,
    WebhookFamilies,
)
from gateway.telemetry.families import Family
from gateway.telemetry.spending import BudgetFamilies


def every_family() -> tuple[Family, ...]:
    """All of them, without values."""
    return (
        *EventFamilies().all(),
        *StateFamilies().all(),
        *ReplicaFamilies(()).all(),
        *LedgerFamilies().all(),
        *FollowerFamilies().all(),
        *WebhookFamilies().all(),
        *BudgetFamilies().all(),
    )
