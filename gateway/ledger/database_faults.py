"""Why the database of a fleet's ledger cannot be used, in words for the operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import asyncpg

from gateway.ledger.faults import LedgerFault

_REMEDIES = (
    (asyncpg.InvalidPasswordError, "correct the user or the password in the address"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "correct the user, or let it in (pg_hba.conf; does it demand TLS?)",
    ),
    (asyncpg.InvalidCatalogNameError, "create the database: CREATE DATABASE"),
    (
        asyncpg.TooManyConnectionsError,
        "raise max_connections, or put PgBouncer in front: each process has one connection",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "the user must own the schema vtc_ledger, or be allowed to make it: GRANT CREATE ON DATABASE",
    ),
)


def place_of(url: str) -> str:
    """How log and messages call the database at `url`, without user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"PostgreSQL at {host or 'a local socket'}, database {parts.path[1:]}"


@contextmanager
def told_database(place: str) -> Iterator[None]:
    """A context in which the errors of the database, of the network and of TLS become a `LedgerFault` about `place`."""
    try:
        yield
    except TimeoutError:
        raise LedgerFault(f"{place} does not answer") from None
    except asyncpg.PostgresError as error:
        remedies = [remedy for kind, remedy in _REMEDIES if isinstance(error, kind)]
        raise LedgerFault("; ".join([f"{place}: {error}", *remedies[:1]])) from None
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError, UnicodeError) as error:
        raise LedgerFault(f"{place} cannot be reached: {error or type(error).__name__}") from None
