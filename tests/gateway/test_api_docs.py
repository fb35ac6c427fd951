"""The API's page names what the code does: endpoints, treated fields, rights."""

from pathlib import Path

import pytest

from gateway.wire.fields import FIELDS, RIGHTS, Treatment
from gateway.wire.surface import ENDPOINTS

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
TREATED = sorted(
    {name for rules in FIELDS.values() for name, rule in rules.items() if rule.treatment != Treatment.PASS}
)


@pytest.mark.parametrize("path", sorted(ENDPOINTS))
def test_every_endpoint_is_listed(path: str) -> None:
    """An exposed path has a row."""
    assert f"`POST {path}`" in PAGE


@pytest.mark.parametrize("field", TREATED)
def test_every_treated_field_is_listed(field: str) -> None:
    """A field that does not pass as it came is named."""
    assert f"`{field}`" in PAGE


@pytest.mark.parametrize("right", sorted(RIGHTS))
def test_every_right_has_a_row(right: str) -> None:
    """A right that a tenant can be given is explained."""
    assert f"| `{right}` |" in PAGE
