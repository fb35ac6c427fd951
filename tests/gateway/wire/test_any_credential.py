"""Whatever the key headers contain, exactly one tenant pays or the request is refused."""

from collections.abc import Sequence

import pytest
from any_bytes import damaged, kept
from hypothesis import given
from hypothesis import strategies as st
from whole_gateway import key_of, tenant

from gateway.clients.incoming import Incoming
from gateway.clients.request import Headers, Line
from gateway.config import Anonymous, Config, ResolvedKey, Tenant, digest
from gateway.outcomes import Outcome
from gateway.proxy.directory import Directory
from gateway.wire.errors import RequestFault
from gateway.wire.headers import presented_keys

DISABLED = "vtc-disabled"
GONE = Tenant(name="gone", keys=(ResolvedKey(id="old", digest=digest(DISABLED), disabled=True),))
TENANTS = (tenant("alice", keys=2), tenant("bob"), GONE, Tenant(name="guest"))
OWNERS = {key_of("alice"): "alice", key_of("alice", 2): "alice", key_of("bob"): "bob"}
DIRECTORIES = [Directory(Config(tenants=TENANTS, anonymous=Anonymous(tenant=who))) for who in (None, "guest")]
NAMES = [b"Authorization", b"authorization", b"X-Api-Key", b"x-api-key", b"api-key"]
WORDS = [key.encode() for key in (*OWNERS, DISABLED)] + [
    *(
        b"Bearer ",
        b"bearer\t",
        b"BEARER",
        b"Basic ",
        b" ",
        b"\t",
        b",",
        b";",
        b"\xc2\xa0",
        b"\xff",
        b"\xe2\x80\x8b",
        b"vtc-",
        b"sk-",
    ),
    *(
        b"\r\n ",
        b"\r\nAuthorization: ",
        b"\r\nx-api-key: ",
        b"\0",
        b"\r",
        b"\n",
        b'"',
        b"%20",
        b"x" * 100,
        b"\xed\xb2\x80",
    ),
]
ORIGINALS = [b"Bearer " + key_of("alice").encode(), key_of("bob").encode(), b"Bearer EMPTY"]
values = damaged(ORIGINALS, WORDS) | st.lists(st.sampled_from(WORDS), max_size=4).map(b"".join)
headers = st.lists(st.tuples(st.sampled_from(NAMES), values).map(b": ".join), max_size=6).map(b"\r\n".join)


def parsed(lines: bytes) -> Headers | None:
    """The headers as the front has them; None where it refuses them as HTTP."""
    incoming = Incoming(Line(), lambda: None)
    incoming.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
    return incoming.requests[0].headers if incoming.requests else None


def payer(directory: Directory, keys: Sequence[str]) -> str | Outcome:
    """The tenant, or how the request is refused."""
    try:
        return directory.identify(keys).tenant.name
    except RequestFault as fault:
        assert not any(key in fault.message for key in (*OWNERS, DISABLED))
        return fault.outcome


def has_one_payer(fields: Headers) -> None:
    """By every order of the headers the same; a tenant only where a key of its own is there, and nobody else's."""
    try:
        keys = presented_keys(fields)
    except RequestFault as fault:
        assert fault.outcome is Outcome.BAD_REQUEST
        return
    values = [value for name in ("authorization", "x-api-key") for value in fields.getall(name)]
    there = {owner for key, owner in OWNERS.items() if any(key in value for value in values)}
    for directory in DIRECTORIES:
        found = payer(directory, keys)
        assert payer(directory, keys[::-1]) == found
        match found:
            case str() if found != "guest":
                assert found in there
                assert {OWNERS[key] for key in keys if key in OWNERS} == {found}
            case str():
                assert not any(key in OWNERS or key == DISABLED for key in keys)
            case _:
                assert found in (Outcome.UNAUTHENTICATED, Outcome.BAD_REQUEST)


@given(lines=headers)
def test_any_headers_have_one_payer_or_none(lines: bytes) -> None:
    """This holds for headers as the server's parser reads them."""
    fields = parsed(lines)
    if fields is not None:
        has_one_payer(fields)


@pytest.mark.parametrize("lines", kept("credentials"), ids=repr)
def test_kept_headers_have_one_payer_or_none(lines: bytes) -> None:
    """Those that were found or feared."""
    fields = parsed(lines)
    if fields is not None:
        has_one_payer(fields)
