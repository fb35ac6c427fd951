"""The page of results names tests that exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "results.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(?:tests/)?([a-z_/]+\.py)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name: str) -> None:
    """A promise is not held by a file that is gone."""
    assert (TESTS / name).is_file()


def test_tests_are_named() -> None:
    """The page has them at all."""
    assert len(NAMED) > 20
