"""Addresses of workers: the right ones in one form, the wrong ones refused."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from gateway.config.address import endpoint_of, normalise, short_name


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


@given(st.text() | st.builds("http://{}:1".format, st.text()))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_an_address_or_refused(written: str) -> None:
    """What passes passes again unchanged; nothing else is raised."""
    try:
        address = normalise(written)
    except PydanticCustomError:
        return
    assert normalise(address) == address


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
