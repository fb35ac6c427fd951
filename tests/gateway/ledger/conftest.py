"""A real PostgreSQL, started once for all tests of a process that need it; each has a database of its own."""

from collections.abc import Iterator
from itertools import count

import pytest
from real_databases import Postgres, a_database

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def running_server() -> Iterator[Postgres]:
    with a_database() as server:
        yield server


@pytest.fixture
def server(running_server: Postgres) -> Iterator[Postgres]:
    """The server; a test may kill or freeze it."""
    yield running_server
    running_server.kill()
    running_server.start()


@pytest.fixture
def fleet_url(running_server: Postgres) -> str:
    """The address of a database that is empty."""
    name = f"ledger{next(_NUMBERS)}"
    running_server.query(f"CREATE DATABASE {name}")
    return running_server.url(name)
