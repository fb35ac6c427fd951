"""Where the store is: the parts of its URL.

`redis://HOST[:PORT][/DATABASE]` and the same with `rediss://` for TLS, or `unix:///PATH[?db=DATABASE]`. The URL has no
user and no password; the configuration has them apart.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """A store's place: `path` of a Unix socket, or `host` and `port`."""

    url: str
    path: str = ""
    host: str = ""
    port: int = DEFAULT_PORT
    is_encrypted: bool = False
    database: int = 0


def parse(url: str) -> Address:
    """The address in `url`; a ValueError says what is wrong with it."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL has a user or a password; the configuration has keys for them")
    if parts.scheme == "unix":
        if not parts.path or parts.netloc:
            raise ValueError("the URL of a Unix socket is unix:///PATH")
        return Address(url, path=unquote(parts.path), database=_number(*parse_qs(parts.query).get("db", ["0"])))
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("the URL begins with none of redis://, rediss:// and unix://")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    return Address(
        url,
        host=parts.hostname,
        port=parts.port or DEFAULT_PORT,
        is_encrypted=parts.scheme == "rediss",
        database=_number(parts.path.strip("/") or "0"),
    )


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not the number of a database")
    return int(text)
