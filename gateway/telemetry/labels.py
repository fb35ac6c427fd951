"""Which tenants have a label of their own in the metrics.

The first `limit` tenants of which a request arrives get theirs; everybody after them is counted under `_other`,
and what came without a tenant (no valid credential, an unknown path) under `_none`. A label once given
stays until the process ends: a series never moves to another name and a counter never goes back. Tenant
names never begin with an underscore.
"""

OTHER = "_other"
NONE = "_none"


class TenantLabels:
    """Gives out at most `limit` labels, by order of first traffic."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._labels: dict[str, str] = {"": NONE}

    def label(self, tenant: str) -> str:
        """The label of a tenant that just sent something; the first call may give it its own."""
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
