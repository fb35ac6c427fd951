"""Keys and weights as operators write them."""

import pytest

from evaluation.conformance.tenants import TenantsError, read_cast


def test_a_list_and_a_file_say_the_same() -> None:
    """Commas or lines, comments, blanks; entries of one name are keys of one tenant."""
    listed = read_cast("alice=k1, bob=k2,bob=k3", "alice=1,bob=3")
    filed = read_cast("# tenants\nalice=k1\n\nbob = k2  # main\nbob=k3\n", "1,3")
    assert listed == filed
    assert [(tenant.name, tenant.keys, tenant.weight) for tenant in listed.tenants] == [
        ("alice", ("k1",), 1.0),
        ("bob", ("k2", "k3"), 3.0),
    ]
    assert listed.has_weights
    assert listed.with_several_keys is listed.tenants[1]


def test_bare_keys_are_tenants_of_their_own() -> None:
    """Names are made up; without weights all are equal."""
    cast = read_cast("k1,k2,k3", "")
    assert cast.weights == {"tenant1": 1.0, "tenant2": 1.0, "tenant3": 1.0}
    assert not cast.has_weights
    assert cast.with_several_keys is None


def test_equal_weights_are_no_weights() -> None:
    """Nothing to tell apart."""
    assert not read_cast("a=1,b=2", "2,2").has_weights


def test_keys_are_not_shown() -> None:
    """A tenant's text holds no key."""
    assert "secret" not in repr(read_cast("a=secret1,b=secret2", ""))


@pytest.mark.parametrize(
    ("keys", "weights", "said"),
    [
        ("", "", "0 tenants"),
        ("a=k", "", "1 tenants"),
        ("a=1,b=2,c=3,d=4,e=5", "", "5 tenants"),
        ("a=1,a=2", "", "1 tenants"),
        ("a=1,b=2", "c=1", "names no tenant"),
        ("a=1,b=2", "1,2,3", "names no tenant"),
        ("a=1,b=2", "a=1", "every tenant"),
        ("a=1,b=2", "a=1,b=0", "not a number above 0"),
        ("a=1,b=2", "a=1,b=much", "not a number above 0"),
        ("a=1,b=2", "a=1,b=inf", "not a number above 0"),
    ],
)
def test_what_makes_no_suite_is_reported_in_words(keys: str, weights: str, said: str) -> None:
    """Each fault names what to write."""
    with pytest.raises(TenantsError, match=said):
        read_cast(keys, weights)
