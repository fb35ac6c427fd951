"""docs/operations.md says of outcomes, log fields, metrics and configuration keys what the code says."""

import re
from pathlib import Path

from gateway.config import Scheduler, Timeouts, json_schema
from gateway.events import RequestFinished
from gateway.outcomes import Outcome
from gateway.telemetry.catalogue import (
    EventFamilies,
    FollowerFamilies,
    LedgerFamilies,
    ReplicaFamilies,
    StateFamilies,
    WebhookFamilies,
)
from gateway.telemetry.observers import UNTOLD
from gateway.workers import DRAINING, CircuitState

DOCUMENT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
DOCUMENT_OF_METRICS = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()


def section(title: str) -> str:
    """The text under a heading, up to the next of its level."""
    return DOCUMENT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row of `text`, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    # A pipe inside a cell is written `\|`.
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row[0].startswith(("`", "anything"))]


def test_the_table_of_outcomes_is_the_closed_list() -> None:
    """Every outcome stands there once, in order, with its status, its types and whether it is a refusal."""
    documented = [(*(cell.strip("`") for cell in row[:5]), row[5]) for row in rows(section("How a request can end"))]
    assert documented == [
        (
            outcome.value,
            str(outcome.wire_form.status),
            outcome.wire_form.openai_type,
            outcome.wire_form.openai_code or "",
            outcome.wire_form.anthropic_type,
            "yes" if outcome.is_refusal else "no",
        )
        for outcome in Outcome
    ]


def test_the_table_of_fields_is_the_event() -> None:
    """Every field of a request's line is described, and no other."""
    described = [
        name
        for row in rows(section("Log lines").split("Fields of `request`", 1)[1])
        for name in re.findall(r"`(\w+)`", row[0])
    ]
    assert sorted(described) == sorted(set(RequestFinished._fields) - UNTOLD)


def test_the_table_of_states_is_what_a_worker_can_be() -> None:
    """Each state is explained once, in the word that is shown, and docs/metrics.md has the same words."""
    states = [*(state.value for state in CircuitState), DRAINING]
    table = section("When a worker breaks").split("### ", 1)[0]
    assert [row[0].strip("`") for row in rows(table)] == states
    (up,) = re.findall(r"\| `vtc_gateway_worker_up` .*", DOCUMENT_OF_METRICS)
    named = re.findall(r"`(\w+)`", up.split("the one state it is in:", 1)[1].split("A launched worker", 1)[0])
    assert named == states


def test_named_metrics_exist() -> None:
    """No metric is mentioned that the gateway does not export."""
    all_families = (
        EventFamilies(),
        StateFamilies(),
        ReplicaFamilies(()),
        LedgerFamilies(),
        FollowerFamilies(),
        WebhookFamilies(),
    )
    names = {family.name for families in all_families for family in families.all()}
    assert set(re.findall(r"(?<!:)\bvtc_gateway_\w+", DOCUMENT)) <= names


def keys(schema: object) -> set[str]:
    """Every property name anywhere in the schema."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        for value in schema.values():
            found |= keys(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= keys(value)
    return found


def test_named_configuration_keys_exist() -> None:
    """A key written `section.key` is one of the schema's."""
    known = keys(json_schema())
    named = re.findall(
        r"`((?:listen|scheduler|window|timeouts|limits|logs|metrics|ledger|replicas)\.[a-z_]+)", DOCUMENT
    )
    assert len(named) >= 12
    for path in named:
        assert set(path.split(".")) <= known, path


def test_the_silence_that_a_balancer_must_bear_is_that_of_the_defaults() -> None:
    """The page's figures, and the sum that it warns of, are the configuration's."""
    text = section("A balancer or proxy in front")
    waits = {
        "scheduler.queue_timeout_seconds": Scheduler().queue_timeout_seconds,
        "pools[].timeouts.first_byte_seconds": Timeouts().first_byte_seconds,
        "pools[].timeouts.stall_seconds": Timeouts().stall_seconds,
    }
    for key, seconds in waits.items():
        assert re.search(rf"\| `{re.escape(key)}` \| {seconds:g} s \|", text), key
    queued, first, _ = waits.values()
    assert f"{queued:g} + {first:g} = {queued + first:g} s" in text
