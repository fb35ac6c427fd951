"""Addresses of workers: the right ones in one form, the wrong ones refused."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from gateway.config.address import normalise, short_name


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
