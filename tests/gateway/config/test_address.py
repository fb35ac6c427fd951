"""Addresses of workers and of the store: the right ones in one form, the wrong ones refused."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from gateway.config.address import endpoint_of, normalise, normalise_store, refused_database, short_name


@pytest.mark.parametrize(
    ("written", "address", "name"),
    [
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001", "127.0.0.1:8001"),
        ("HTTP://Gpu-1.example:80/", "http://gpu-1.example:80", "gpu-1.example:80"),
        ("http://[::1]:8001", "http://[::1]:8001", "[::1]:8001"),
        ("unix:///run/vllm.sock", "unix:///run/vllm.sock", None),
    ],
)
def test_right_addresses(written: str, address: str, name: str | None) -> None:
    """A right address has one form and a short name."""
    assert normalise(written) == address
    assert short_name(address) == name


@pytest.mark.parametrize(
    "written",
    [
        "",
        "gpu1",
        "gpu1:8000",
        "ftp://gpu1:21",
        "https://gpu1:8000",
        "http://:8000",
        "http://gpu1",
        "http://gpu1:0",
        "http://gpu1:x",
        "http://gpu1:8000/v1",
        "http://gpu1:8000?x=1",
        "http://gpu1:8000#x",
        "http://a@gpu1:8000",
        "http://gpu 1:8000",
        "http://gpu1:8000\r\nHost: x",
        "http://[::1:8000",
        "http://gpu%31:8000",
        "unix://run/x",
        "unix:///",
        "unix:///" + "x" * 120,
    ],
)
def test_wrong_addresses(written: str) -> None:
    """A wrong address is refused with a remedy."""
    with pytest.raises(PydanticCustomError) as caught:
        normalise(written)
    assert caught.value.context is not None
    assert caught.value.context["remedy"]


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("redis://127.0.0.1:6380", "redis://127.0.0.1:6380"),
        ("redis://Store.example", "redis://store.example:6379"),
        ("rediss://store:6379/", "rediss://store:6379"),
        ("redis://[::1]", "redis://[::1]:6379"),
        ("unix:///run/store@1.sock", "unix:///run/store@1.sock"),
    ],
)
def test_right_addresses_of_a_store(written: str, address: str) -> None:
    """A store has one form of its address, with its port."""
    assert normalise_store(written) == address


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("redis://:hunter2@store", "a user or a password"),
        ("redis://me:hun/ter2@store", "a user or a password"),
        ("rediss://hunter2@store", "a user or a password"),
        ("unix://me:hunter2@/run/store.sock", "a user or a password"),
        ("redis://:hunter2", "cannot be read"),
        ("redis://store?password=hunter2", "a path or a query"),
        ("redis://store/1", "a path or a query"),
        ("redis://store:0", "port 0"),
        ("redis://", "no host"),
        ("store:6379", "neither redis:// nor rediss:// nor unix://"),
        ("valkey://store", "neither redis:// nor rediss:// nor unix://"),
        ("http://store:6379", "neither redis:// nor rediss:// nor unix://"),
        ("redis://sto re", "white space"),
        ("unix://run/store.sock", "no absolute path"),
    ],
)
def test_wrong_addresses_of_a_store(written: str, message: str) -> None:
    """A wrong address is refused with a remedy, and no word of it is repeated that may be a password."""
    with pytest.raises(PydanticCustomError) as caught:
        normalise_store(written)
    assert caught.value.context is not None
    assert message in caught.value.context["message"]
    assert caught.value.context["remedy"]
    assert "ter2" not in str(caught.value.context)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "no address of PostgreSQL"),
        ("db:5432/ledger", "no address of PostgreSQL"),
        ("mysql://a:b@db/ledger", "no address of PostgreSQL"),
        ("postgresql://a:b c@db/ledger", "no address of PostgreSQL"),
        ("postgresql://a:b@db:secret/ledger", "no address of PostgreSQL"),
        ("postgresql://a:b@[db/ledger", "no address of PostgreSQL"),
        ("postgresql://a:secret@db", "names no database"),
        ("postgresql://a:secret@db/", "names no database"),
        ("postgresql://a:secret@db/ledger?sslmode=on", "unknown `sslmode`"),
    ],
)
def test_wrong_addresses_of_a_database(written: str, message: str) -> None:
    """Each is refused with what helps, and nothing that may be a password is repeated."""
    refused = refused_database(written)
    assert refused is not None and message in refused[0]
    assert "secret" not in " ".join(refused)


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://a:b@db/ledger",
        "postgres://a:p%40ss@db:5433/ledger?sslmode=verify-full&sslrootcert=/ca.pem",
        "postgresql:///ledger?host=/run/postgresql",
        "postgresql://a@one:5432,two:5433/ledger",
    ],
)
def test_right_addresses_of_a_database(written: str) -> None:
    """With special characters as %XX, over a socket, and with a second host."""
    assert refused_database(written) is None


@pytest.mark.parametrize("normal_form", [normalise, normalise_store])
@given(written=st.text() | st.builds("{}://{}:1".format, st.sampled_from(["http", "redis"]), st.text()))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_an_address_or_refused(normal_form: Callable[[str], str], written: str) -> None:
    """What passes passes again unchanged; nothing else is raised."""
    try:
        address = normal_form(written)
    except PydanticCustomError:
        return
    assert normal_form(address) == address


@pytest.mark.parametrize(
    "spellings",
    [
        "http://127.0.0.1:1 http://localhost:1 http://LOCALHOST.:1 http://127.1:1 http://0x7f.1:1 http://2130706433:1"
        " http://[::1]:1 http://[::ffff:127.0.0.1]:1 http://[::ffff:7f00:1]:1 http://[0:0:0:0:0:0:0:1]:1"
        " http://0.0.0.0:1 http://[::]:1 http://vllm.localhost:1",
        "http://10.0.0.7:1 http://10.7:1 http://[::ffff:10.0.0.7]:1",
        "http://gpu-1.example:1 http://GPU-1.example.:1",
        "http://[2001:db8::1]:1 http://[2001:DB8:0:0::1]:1",
        "unix:///run/a.sock unix:///run/./a.sock unix:///run/x/../a.sock",
    ],
)
def test_spellings_of_one_address_lead_to_one_endpoint(spellings: str) -> None:
    """However an address is written, the engine that it leads to is known by one name."""
    assert len({endpoint_of(normalise(url)) for url in spellings.split()}) == 1


def test_other_addresses_lead_to_other_endpoints() -> None:
    """Another port, another host, another address of this machine, another socket."""
    urls = "http://127.0.0.1:1 http://127.0.0.1:2 http://127.0.0.2:1 http://gpu-1:1 http://gpu-2:1 unix:///a unix:///b"
    assert len({endpoint_of(normalise(url)) for url in urls.split()}) == 7
