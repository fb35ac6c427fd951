"""The label cap: which tenants have a label of their own, and for how long."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.labels import NONE, OTHER, TenantLabels


def test_the_first_by_traffic_get_their_own() -> None:
    """With room for two, the third tenant that sends is one of the others."""
    labels = TenantLabels(2)
    assert [labels.label(name) for name in ("a", "b", "c", "a", "c")] == ["a", "b", OTHER, "a", OTHER]


def test_no_tenant_takes_no_room() -> None:
    """Requests without a tenant have a label of their own that the cap does not count."""
    labels = TenantLabels(1)
    assert labels.label("") == NONE
    assert labels.label("a") == "a"
    assert labels.label("") == NONE


def test_a_cap_of_zero_names_nobody() -> None:
    """An operator may keep tenants' names out of the metrics."""
    labels = TenantLabels(0)
    assert labels.label("a") == OTHER
    assert labels.label("") == NONE


def test_the_owners_are_those_who_sent() -> None:
    """A scrape asks for the tenants with a label of their own, without those that have none."""
    labels = TenantLabels(2)
    for name in ("", "b", "a", "c"):
        labels.label(name)
    assert labels.own() == {"a", "b"}


@given(st.integers(0, 5), st.lists(st.sampled_from("abcdefgh")))
def test_a_label_never_changes(limit: int, senders: list[str]) -> None:
    """A tenant with a label keeps it, a tenant without one gets none later, and at most `limit` are given."""
    labels = TenantLabels(limit)
    seen: dict[str, str] = {}
    for name in senders:
        assert labels.label(name) == seen.setdefault(name, labels.label(name))
    own = {name for name, label in seen.items() if label == name}
    assert own == set(list(dict.fromkeys(senders))[:limit])
    assert all(label == OTHER for name, label in seen.items() if name not in own)
