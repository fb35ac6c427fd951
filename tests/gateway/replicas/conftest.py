"""The servers on which the scripts are tried."""

from collections.abc import Iterator

import pytest
import valkey
from real_stores import KINDS, running


@pytest.fixture(scope="module", params=KINDS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Valkey]:
    """A fresh server of each kind."""
    with running(request.param, tmp_path_factory.mktemp(request.param)) as store:
        yield store
