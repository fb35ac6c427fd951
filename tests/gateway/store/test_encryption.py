"""Over TLS: who the server is gets checked, and the gateway shows its certificate if it is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_stores import a_store, free_port

from gateway.config import Replicas
from gateway.store.client import StoreClient

from .certificates import Authority
from .scene import COUNT, failure_of, play


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom both sides trust."""
    return Authority(tmp_path_factory.mktemp("authority") / "files")


@contextmanager
def an_encrypted_store(authority: Authority, folder: Path, *, place: str = "DNS:localhost") -> Iterator[Replicas]:
    """What a client needs to reach a server that asks everybody for a certificate of `authority`."""
    port = free_port()
    certificate, key = authority.signed(f"server-{port}", place=place)
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authority.ca))
    own, own_key = authority.signed(f"gateway-{port}")
    with a_store("redis", folder, "--tls-port", str(port), *files):
        yield Replicas(store=f"rediss://localhost:{port}", ca_file=authority.ca, certificate_file=own, key_file=own_key)


def changed(access: Replicas, **settings: Any) -> Replicas:
    """The same with other `settings`."""
    return access.model_copy(update=settings)


async def count(access: Replicas) -> int:
    """Connect and make a call."""
    client = StoreClient(access)
    try:
        await client.connected()
        return int(await client.run(COUNT, ["n"], []))
    finally:
        await client.close()


def test_both_sides_show_their_certificates(authority: Authority, tmp_path: Path) -> None:
    """A call succeeds; the files are read anew for each connection."""
    with an_encrypted_store(authority, tmp_path) as access:

        async def story() -> None:
            assert await count(access) == 1
            assert await count(access) == 2

        play(story)


def test_who_cannot_be_trusted_is_not_spoken_to(authority: Authority, tmp_path: Path) -> None:
    """Another authority, no certificate, files that are wrong or missing, a port that speaks plainly."""
    other = Authority(tmp_path / "other")
    with an_encrypted_store(authority, tmp_path) as access:

        async def story() -> None:
            assert "certificate verify failed" in await failure_of(count(changed(access, ca_file=other.ca)))
            assert "certificate verify failed" in await failure_of(count(changed(access, ca_file=None)))
            assert "closed the connection" in await failure_of(
                count(changed(access, certificate_file=None, key_file=None))
            )
            absent = changed(access, key_file=tmp_path / "absent")
            assert "files of TLS cannot be used" in await failure_of(count(absent))
            wrong = changed(access, key_file=access.ca_file)
            assert "files of TLS cannot be used" in await failure_of(count(wrong))
            plain = changed(access, store=access.store.replace("rediss:", "redis:"))
            assert "closed the connection" in await failure_of(count(plain))

        play(story)


def test_a_certificate_for_another_host_is_refused(authority: Authority, tmp_path: Path) -> None:
    """The right authority alone does not do, nor does the address at which the host was found."""
    with an_encrypted_store(authority, tmp_path, place="IP:127.0.0.1") as access:

        async def story() -> None:
            assert "Hostname mismatch" in await failure_of(count(access))

        play(story)


def test_a_store_without_tls_says_so(tmp_path: Path) -> None:
    """`rediss://` for a server that speaks plainly."""
    with a_store("redis", tmp_path, has_port=True) as store:

        async def story() -> None:
            line = await failure_of(count(Replicas(store=store.url.replace("redis:", "rediss:"))))
            assert "TLS failed" in line or "closed the connection" in line or "no connection within" in line

        play(story)
