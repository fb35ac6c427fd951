"""Addresses of endpoints as people write them, and the bytes that go there."""

import json

import pytest

from evaluation.load.client import Address


@pytest.mark.parametrize(
    ("url", "address", "netloc"),
    [
        ("http://127.0.0.1:8000", Address("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", Address("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://gpu1/fair/v1", Address("gpu1", 80, "/fair"), "gpu1:80"),
        ("http://[::1]:8000/", Address("::1", 8000), "[::1]:8000"),
    ],
)
def test_an_address_is_read_with_and_without_the_version(url: str, address: Address, netloc: str) -> None:
    """The address has the host, the port and what stands before `/v1`."""
    assert Address.parse(url) == address and address.netloc == netloc


@pytest.mark.parametrize("url", ["https://127.0.0.1:8000", "127.0.0.1:8000", "http://", "", "http://host:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """The client speaks plain HTTP, so it refuses other schemes and addresses without a host."""
    with pytest.raises(ValueError, match=r"http|[Pp]ort"):
        Address.parse(url)


@pytest.mark.parametrize("key", [None, "secret"])
def test_a_post_is_one_request(key: str | None) -> None:
    """The request has the path with its prefix, the length of the body, and the key if there is one."""
    head, _, body = Address("::1", 8000, "/fair").post("/v1/completions", {"prompt": "ü"}, key).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /fair/v1/completions HTTP/1.1"
    assert "Host: [::1]:8000" in lines and f"Content-Length: {len(body)}" in lines
    assert ("Authorization: Bearer secret" in lines) == (key is not None)
    assert json.loads(body) == {"prompt": "ü"}
