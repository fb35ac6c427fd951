"""The API's page names what the code does: endpoints, treated fields, rights."""

import re
from pathlib import Path

import pytest

from gateway.outcomes import Outcome
from gateway.wire.fields import FIELDS, RIGHTS, Treatment
from gateway.wire.surface import ENDPOINTS
from gateway.workers.judgement import OF_THE_REQUEST

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


def test_every_status_of_an_error_has_a_row() -> None:
    """Whatever a request can end in and its client can see; 499 is for clients that are gone."""
    rows = re.findall(r"^\| ([0-9, ]+) \|", PAGE.split("## Errors", 1)[1], re.MULTILINE)
    documented = {int(status) for row in rows for status in row.split(",")}
    assert {outcome.wire_form.status for outcome in Outcome} - {200, 499} <= documented


def test_the_engines_errors_that_reach_the_client_are_the_codes() -> None:
    """This page and docs/operations.md list the statuses by which an engine says that the request is wrong."""
    operations = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    listed = re.search(r"about the request itself \(([0-9,\s]+), in JSON\)", PAGE)
    row = re.search(r"\| ([0-9, ]+) in JSON \| the client's", operations)
    assert listed is not None
    assert row is not None
    for text in (listed[1], row[1]):
        assert {int(status) for status in text.split(",")} == OF_THE_REQUEST
