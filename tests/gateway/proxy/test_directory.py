"""Who may do what, asked again and again: an answer that is kept is the tenant's own."""

import pytest
from whole_gateway import key_of, tenant

from gateway.config import Config, Pool
from gateway.outcomes import Outcome
from gateway.proxy.directory import Directory
from gateway.wire.errors import RequestFault

TINY, LARGE = (Pool(model=name, engine_model=name, aliases=(f"{name}-alias",)) for name in ("tiny", "large"))
ALICE = tenant("alice", keys=2)
BOB = tenant("bob", models=("tiny",), weight=3.0)


def _directory(secret: bytes | None = None) -> Directory:
    return Directory(Config(pools=(TINY, LARGE), tenants=(ALICE, BOB)), secret)


def test_what_one_tenant_may_use_another_may_not() -> None:
    """Also where the first has just used it; a tenant that was refused is refused again."""
    directory = _directory()
    for _ in range(2):
        alice, bob = directory.identify(key_of("alice")), directory.identify(key_of("bob"))
        assert alice.pool("large") is alice.pool("large-alias") is LARGE
        assert alice.pool("tiny") is bob.pool("tiny") is bob.pool("tiny-alias") is TINY
        for name in ("large", "large-alias", "none"):
            with pytest.raises(RequestFault) as fault:
                bob.pool(name)
            assert fault.value.outcome is Outcome.UNKNOWN_MODEL


def test_every_key_has_its_own_identity() -> None:
    """Two keys of one tenant are two flows of it."""
    directory = _directory()
    first, second, other = (directory.identify(key) for key in (key_of("alice"), key_of("alice", 2), key_of("bob")))
    assert (first.tenant, second.tenant, other.tenant) == (ALICE, ALICE, BOB)
    assert (first.key_id, second.key_id, other.key_id) == ("key1", "key2", "key1")
    assert directory.identify(key_of("alice")) is first


def test_engines_know_tenants_by_names_of_this_process() -> None:
    """The name says nothing without the secret, stays the same through a reload, and carries the tenant's weight."""
    directory, reloaded = _directory(b"secret"), _directory(b"secret")
    alice, bob = (directory.identify(key_of(name)).payer for name in ("alice", "bob"))
    assert alice.name != bob.name
    assert (alice.weight, bob.weight) == (1.0, 3.0)
    assert directory.identify(key_of("alice", 2)).payer == reloaded.identify(key_of("alice")).payer == alice
    assert _directory().identify(key_of("alice")).payer.name != alice.name


def test_an_identity_of_another_configuration_changes_nothing_in_this_one() -> None:
    """Whatever an old identity is asked after a reload, the new directory answers by its own configuration alone."""
    poorer = tenant("alice", keys=2, models=("tiny",), weight=2.0)
    before = _directory(b"secret").identify(key_of("alice"))
    directory = Directory(Config(pools=(TINY, LARGE), tenants=(poorer, BOB)), b"secret")
    assert before.pool("large") is LARGE
    assert before.stand_in(TINY, lambda _: False) is TINY
    now = directory.identify(key_of("alice"))
    assert set(now.models) == {"tiny", "tiny-alias"} and now.payer.weight == 2.0
    with pytest.raises(RequestFault):
        now.pool("large")
