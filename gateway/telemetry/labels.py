"""Decides which tenants have a label of their own in the metrics.

The first `limit` tenants that send a request get one. All others are counted under `_other`, and requests without a
tenant (no valid credential, an unknown path) under `_none`. A label stays until the process ends, so a series never
changes its name and a counter never goes back. Tenant names never begin with an underscore.
"""

OTHER = "_other"
NONE = "_none"


class TenantLabels:
    """Gives out at most `limit` labels, in the order of the tenants' first requests."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._labels: dict[str, str] = {"": NONE}

    def label(self, tenant: str) -> str:
        """The label of a tenant that sent a request; its first call may give it a label of its own."""
        label = self._labels.get(tenant)
        if label is not None:
            return label
        if len(self._labels) > self._limit:
            return OTHER
        self._labels[tenant] = tenant
        return tenant

    def own(self) -> frozenset[str]:
        """The tenants that have a label of their own."""
        return frozenset(self._labels.values()) - {NONE}
