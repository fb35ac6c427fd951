"""docs/workloads.md has a row for every key, workload, field and format, and its example is right."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from evaluation.workloads import names
from evaluation.workloads.arrivals import EvenlySpaced, OnOff, Phase, Phases, Poisson, Ramp, Scattered, Silent
from evaluation.workloads.files import parse
from evaluation.workloads.lengths import Fixed, Lognormal, Quantiles, Uniform
from evaluation.workloads.schema import Disconnects, TenantFile, WorkloadFile
from evaluation.workloads.traces import OPTIONAL, REQUIRED, TraceFormat
from evaluation.workloads.workload import generate
from gateway.config.faults import FaultLog

PAGE = (Path(__file__).parents[3] / "docs" / "workloads.md").read_text("utf-8")
HEADER = "| key | default | unit | what it is |\n|---|---|---|---|"
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "### The file": (WorkloadFile,),
    "### A tenant": (TenantFile, Disconnects),
    "### Arrivals": (EvenlySpaced, Poisson, Ramp, Scattered, Phases, Silent, Phase, OnOff),
    "### Lengths": (Fixed, Uniform, Lognormal, Quantiles),
}


def _rows(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra.get("x-unit", "")) if isinstance(extra, dict) else ""
        default = "required" if field.is_required() else "" if field.default in (None, "") else f"`{field.default}`"
        if name == "kind":
            yield f"| `kind: {field.annotation.__args__[0]}` | required |  | {field.description} |"  # type: ignore[union-attr]
        else:
            yield f"| `{name}` | {default} | {unit} | {field.description} |"


def table(model: type[BaseModel]) -> str:
    """Return the table that the page must have of `model`."""
    return "\n".join([HEADER, *_rows(model)])


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_described_as_the_models_say(heading: str) -> None:
    """Each section has one table for each of its mappings, word for word."""
    section = PAGE.partition(heading)[2].partition("\n## ")[0].partition("\n### ")[0]
    for model in SECTIONS[heading]:
        assert table(model) in section, table(model)
    assert section.count(HEADER) == len(SECTIONS[heading])


def test_the_example_is_right() -> None:
    """The example loads and is the workload that its comments describe."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    workload = generate(parse(example, FaultLog("example")))
    assert dict(workload.tenants) == {"chat": 2.0, "batch": 1.0}
    assert {request.prompt_tokens for request in workload.of("batch")} == {512}
    assert {request.key for request in workload.of("batch")} == {f"batch/{number}" for number in range(1, 5)}
    assert {request.max_output_tokens for request in workload.requests} == {1024}


def test_every_workload_field_and_format_has_its_row() -> None:
    """The page describes all of them and none that does not exist."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    first = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert set(names()) <= first
    assert {*REQUIRED, *OPTIONAL} <= first
    assert {each.value for each in TraceFormat} <= first
    keys = {name for models in SECTIONS.values() for model in models for name in model.model_fields}
    kinds = {name for name in first if name.startswith("kind: ")}
    assert first - kinds <= {*names(), *REQUIRED, *OPTIONAL, "client", *(each.value for each in TraceFormat)} | keys
