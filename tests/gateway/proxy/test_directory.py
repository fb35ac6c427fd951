"""However often a tenant asks for its rights, each kept answer is that tenant's own."""

import pytest
from whole_gateway import key_of, tenant

from gateway.config import Admin, Anonymous, Config, Pool, ResolvedKey, Tenant, digest
from gateway.outcomes import Outcome
from gateway.proxy.directory import Directory
from gateway.wire.errors import RequestFault

TINY, LARGE = (Pool(model=name, engine_model=name, aliases=(f"{name}-alias",)) for name in ("tiny", "large"))
ALICE = tenant("alice", keys=2)
BOB = tenant("bob", models=("tiny",), weight=3.0)


def _directory(secret: bytes | None = None) -> Directory:
    return Directory(Config(pools=(TINY, LARGE), tenants=(ALICE, BOB)), secret)


def test_what_one_tenant_may_use_another_may_not() -> None:
    """This also holds if the first has just used it; a refused tenant is refused again."""
    directory = _directory()
    for _ in range(2):
        alice, bob = directory.identify([key_of("alice")]), directory.identify([key_of("bob")])
        assert alice.pool("large") is alice.pool("large-alias") is LARGE
        assert alice.pool("tiny") is bob.pool("tiny") is bob.pool("tiny-alias") is TINY
        for name in ("large", "large-alias", "none"):
            with pytest.raises(RequestFault) as fault:
                bob.pool(name)
            assert fault.value.outcome is Outcome.UNKNOWN_MODEL


def test_every_key_has_its_own_identity() -> None:
    """Two keys of one tenant are two flows of it."""
    directory = _directory()
    first, second, other = (directory.identify([key]) for key in (key_of("alice"), key_of("alice", 2), key_of("bob")))
    assert (first.tenant, second.tenant, other.tenant) == (ALICE, ALICE, BOB)
    assert (first.key_id, second.key_id, other.key_id) == ("key1", "key2", "key1")
    assert directory.identify([key_of("alice")]) is first


def test_engines_know_tenants_by_names_of_this_process() -> None:
    """The name says nothing without the secret, stays the same through a reload, and carries the tenant's weight."""
    directory, reloaded = _directory(b"secret"), _directory(b"secret")
    alice, bob = (directory.identify([key_of(name)]).payer for name in ("alice", "bob"))
    assert alice.name != bob.name
    assert (alice.weight, bob.weight) == (1.0, 3.0)
    assert directory.identify([key_of("alice", 2)]).payer == reloaded.identify([key_of("alice")]).payer == alice
    assert _directory().identify([key_of("alice")]).payer.name != alice.name


def test_an_identity_of_another_configuration_changes_nothing_in_this_one() -> None:
    """Whatever an old identity is asked after a reload, the new directory answers by its own configuration alone."""
    poorer = tenant("alice", keys=2, models=("tiny",), weight=2.0)
    before = _directory(b"secret").identify([key_of("alice")])
    directory = Directory(Config(pools=(TINY, LARGE), tenants=(poorer, BOB)), b"secret")
    assert before.pool("large") is LARGE
    assert before.fallback_for(TINY, lambda _: False, lambda _: False) is TINY
    now = directory.identify([key_of("alice")])
    assert set(now.models) == {"tiny", "tiny-alias"} and now.payer.weight == 2.0
    with pytest.raises(RequestFault):
        now.pool("large")


A, A2, B = key_of("alice"), key_of("alice", 2), key_of("bob")
DISABLED, WRONG, FOREIGN, PLACEHOLDER = "vtc-disabled", "vtc-wrong", "sk-ant-foreign", "EMPTY"
GONE = Tenant(name="gone", keys=(ResolvedKey(id="old", digest=digest(DISABLED), disabled=True),))
GUEST = Tenant(name="guest")


@pytest.mark.parametrize(
    ("keys", "closed", "open_"),
    [
        ([], 401, "guest"),
        ([PLACEHOLDER], 401, "guest"),
        ([FOREIGN], 401, "guest"),
        (["Basic YTpi", PLACEHOLDER], 401, "guest"),
        ([WRONG], 401, 401),
        ([DISABLED], 401, 401),
        ([WRONG, PLACEHOLDER], 401, 401),
        ([A], "alice", "alice"),
        ([A, FOREIGN], "alice", "alice"),
        ([FOREIGN, A], "alice", "alice"),
        (["Basic YTpi", A], "alice", "alice"),
        ([WRONG, A], "alice", "alice"),
        ([A, DISABLED], "alice", "alice"),
        ([A, B], 400, 400),
        ([A, A2], 400, 400),
        ([FOREIGN, B, A], 400, 400),
    ],
)
def test_who_pays_for_a_request_with_any_keys(keys: list[str], closed: str | int, open_: str | int) -> None:
    """The one key of ours pays, whatever stands beside it; two could each be meant; none is the anonymous tenant's.

    `closed` and `open_` are the tenant, or the status, without and with anonymous access.
    """
    tenants = (ALICE, BOB, GONE, GUEST)
    for anonymous, expected in ((Anonymous(), closed), (Anonymous(tenant="guest"), open_)):
        directory = Directory(Config(pools=(TINY,), tenants=tenants, anonymous=anonymous))
        try:
            found: str | int = directory.identify(keys).tenant.name
        except RequestFault as fault:
            found = fault.outcome.wire_form.status
            assert not any(key in fault.message for key in keys if key)
        assert found == expected


def test_the_admin_key_is_found_beside_others() -> None:
    """The gateway finds the admin's key as it finds a tenant's."""
    directory = Directory(Config(tenants=(ALICE,), admin=Admin(digest=digest("vtc-admin"))))
    assert directory.is_admin(["EMPTY", "vtc-admin"])
    assert not directory.is_admin([A]) and not directory.is_admin([])
