"""Every test has runtime directories of its own, and leaves none behind."""

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def meeting_places(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short paths, because a Unix socket's path is short; a parent that is killed cannot remove its directory."""
    with tempfile.TemporaryDirectory(prefix="vtc-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield
