"""Checks addresses: of workers (`http://host:port`, `unix:///path.sock`), store, database, webhook, and our own.

Workers speak plain HTTP on a trusted network or a local socket. The store speaks its protocol there, or over TLS. Their
addresses have no path, no query and no credential: the gateway writes the paths, and keys and passwords have their own
settings. The database's address has them all, so that it never stands in the file.
"""

import re
import socket
from ipaddress import IPv6Address, ip_address
from posixpath import normpath
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:.]{2,45}")
_LISTEN_EXAMPLE = "write `127.0.0.1` for this machine alone, `0.0.0.0` for all interfaces"
_THIS_MACHINE = "127.0.0.1"
_EXAMPLE = "write `http://host:port` or `unix:///path.sock`"
_STORE_EXAMPLE = "write `redis://host:6379`, `rediss://host:6379` (TLS) or `unix:///path.sock`"
_STORE_PORT = 6379
_WEBHOOK_EXAMPLE = "write `https://host/path`"
_DATABASE_EXAMPLE = "write `postgresql://user:password@host:5432/database`, with special characters as %XX"
_DATABASE_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:[0-9]{1,5})?")
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


def normalise(url: str) -> str:
    """`url` in the one form that the gateway uses; raises `PydanticCustomError` with a remedy if it is wrong."""
    parts, port = _split(url, _EXAMPLE)
    match parts.scheme:
        case "http":
            return _http(parts, port)
        case "unix":
            return _unix(parts)
        case "https":
            raise _refusal("workers are reached by plain HTTP", "write `http://host:port`; TLS ends at the gateway")
        case _:
            raise _refusal("the address is neither http:// nor unix://", _EXAMPLE)


def normalise_store(url: str) -> str:
    """The store's `url` in the one form that the gateway uses; raises `PydanticCustomError` with a remedy.

    No message repeats a part of a `url` that may hold a password.
    """
    if "@" in url and not url.startswith("unix:///"):
        remedy = "use `username`, and `password_env` or `password_file`"
        raise _refusal("the address holds a user or a password", remedy)
    parts, port = _split(url, _STORE_EXAMPLE, may_tell=False)
    match parts.scheme:
        case "redis" | "rediss":
            return _store(parts, _STORE_PORT if port is None else port)
        case "unix":
            return _unix(parts)
        case _:
            raise _refusal("the address is neither redis:// nor rediss:// nor unix://", _STORE_EXAMPLE)


def normalise_webhook(url: str) -> str:
    """The `url` of a webhook as it was written; raises `PydanticCustomError` with a remedy.

    No message repeats a part of it: its path may be a secret.
    """
    parts, _ = _split(url, _WEBHOOK_EXAMPLE, may_tell=False)
    if parts.scheme not in ("http", "https"):
        raise _refusal("the address is neither https:// nor http://", _WEBHOOK_EXAMPLE)
    if "@" in parts.netloc:
        raise _refusal("the address holds a user or a password", "the receiver knows the gateway by its signature")
    if not _HOST.fullmatch(parts.hostname or ""):
        raise _refusal("the address names no host", _WEBHOOK_EXAMPLE)
    return url


def refused_database(url: str) -> tuple[str, str] | None:
    """Why the database's `url` cannot be right, and what helps; None if it can. No word of it repeats the `url`."""
    no_address = "leads to a text that is no address of PostgreSQL", _DATABASE_EXAMPLE
    try:
        parts = urlsplit(url)
    except ValueError:
        return no_address
    hosts = parts.netloc.rpartition("@")[2].split(",")  # several: the first that answers
    if parts.scheme not in ("postgres", "postgresql") or not all(map(_DATABASE_HOST.fullmatch, hosts)):
        return no_address
    if any(character.isspace() for character in url):
        return no_address
    if len(parts.path) < 2:
        return "leads to an address that names no database", _DATABASE_EXAMPLE
    modes = parse_qs(parts.query).get("sslmode", [])
    if not _SSL_MODES.issuperset(modes):
        return "leads to an address with an unknown `sslmode`", f"one of {', '.join(sorted(_SSL_MODES))}"
    return None


def is_unproven(url: str) -> bool:
    """True if a gateway would send to the database's `url` over a network without knowing who answers there."""
    parts = urlsplit(url)
    is_here = parts.hostname is None or _machine(parts.hostname) == _THIS_MACHINE
    return not is_here and parse_qs(parts.query).get("sslmode") != ["verify-full"]


def listen_host(host: str) -> str:
    """`host`, an address or a name; raises `PydanticCustomError` with a remedy if it is neither."""
    is_numeric = host.rpartition(".")[2].isdecimal() or ":" in host
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        if is_numeric or not _HOST.fullmatch(host):
            raise _refusal(f"`{host[:60]}` is neither an address nor a host's name", _LISTEN_EXAMPLE) from None
    return host


def endpoint_of(url: str) -> str:
    """The place to which the normalised `url` leads; it is the same for all spellings of one address.

    `localhost` is such a spelling. Other names are not looked up: two names of one engine count as two places.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{normpath(parts.path)}"
    return f"{_machine(parts.hostname or '')}:{parts.port}"


def _machine(host: str) -> str:
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return _THIS_MACHINE
    try:
        address = ip_address(name if ":" in name else socket.inet_ntoa(socket.inet_aton(name)))
    except (OSError, ValueError):
        return name
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    # 0.0.0.0 and :: mean all interfaces, and one can connect to them: they lead to this machine too.
    return _THIS_MACHINE if address.is_unspecified or str(address) in ("127.0.0.1", "::1") else str(address)


def short_name(url: str) -> str | None:
    """The `host:port` of an HTTP address; None for a socket."""
    return url.removeprefix("http://") if url.startswith("http://") else None


def _split(url: str, example: str, *, may_tell: bool = True) -> tuple[SplitResult, int | None]:
    """The parts of `url` and its port; if it `may_tell`, the message of an error repeats what is wrong."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise _refusal("the address holds white space or control characters", example)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refusal("the address cannot be read" + (f" ({error})" if may_tell else ""), example) from None
    return parts, port


def _store(parts: SplitResult, port: int) -> str:
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise _refusal("the address names no host", _STORE_EXAMPLE)
    if not port:
        raise _refusal("the address names port 0", _STORE_EXAMPLE)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        remedy = f"write `{parts.scheme}://{_literal(host)}:{port}`; `fleet` keeps fleets apart in one store"
        raise _refusal("the address has a path or a query", remedy)
    return f"{parts.scheme}://{_literal(host)}:{port}"


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _http(parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise _refusal("the address holds a credential", "use `api_key` for the worker's key")
    if not _HOST.fullmatch(host):
        raise _refusal("the address names no host", _EXAMPLE)
    literal = _literal(host)
    if not port:
        raise _refusal("the address names no port", f"write `http://{literal}:8000` or the port it listens on")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _refusal("the address has a path", f"write `http://{literal}:{port}`; the gateway adds /v1/... itself")
    return f"http://{literal}:{port}"


def _unix(parts: SplitResult) -> str:
    if parts.netloc or len(parts.path) < 2 or parts.query or parts.fragment:
        raise _refusal("the socket has no absolute path", "write `unix:///path.sock`, with three slashes")
    # sockaddr_un.sun_path holds 108 bytes with the final zero.
    if len(parts.path.encode()) > 107:
        raise _refusal("the socket's path is longer than 107 bytes", "use a shorter path")
    return f"unix://{parts.path}"


def _refusal(message: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message, "remedy": remedy})


WorkerUrl = Annotated[str, AfterValidator(normalise), Field(json_schema_extra={"pattern": "^(http://|unix:///)"})]
StoreUrl = Annotated[
    str, AfterValidator(normalise_store), Field(json_schema_extra={"pattern": "^(rediss?://[^@]*$|unix:///)"})
]
WebhookUrl = Annotated[str, AfterValidator(normalise_webhook), Field(json_schema_extra={"pattern": "^https?://[^@]*$"})]
ListenHost = Annotated[str, AfterValidator(listen_host)]
