"""docs/metrics.md and the gateway name the same metrics, and its queries are PromQL over them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.telemetry.every_family import every_family

DOCUMENT = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
FAMILIES = every_family()
ROW = re.compile(r"^\| `(vtc_gateway_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
QUERIES = re.findall(r"```promql\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_tables_and_the_gateway_agree() -> None:
    """Every metric is documented once with its type and labels, and nothing else is."""
    rows = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _, _ in ROW.findall(DOCUMENT)]
    assert sorted(rows) == sorted((family.name, family.kind, family.labels) for family in FAMILIES)


def test_every_table_row_was_read() -> None:
    """A malformed row would hide a metric from the comparison."""
    assert DOCUMENT.count("\n| `") == len(ROW.findall(DOCUMENT))


@pytest.mark.parametrize("query", QUERIES)
def test_queries_use_metrics_that_exist(query: str) -> None:
    """A query over a name that nobody exports answers nothing, at the worst moment."""
    names = {family.name for family in FAMILIES}
    for family in FAMILIES:
        if family.kind == "histogram":
            names |= {family.name + suffix for suffix in ("_bucket", "_sum", "_count")}
    used = set(re.findall(r"vtc_gateway_\w+", query))
    assert used <= names
    assert used or "process_" in query


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    """Each example parses as PromQL."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is missing: run scripts/install-system (Debian package prometheus)"
    assert len(QUERIES) >= 10
    rules = ["groups:", "- name: examples", "  rules:"]
    for number, query in enumerate(QUERIES):
        rules += [f"  - record: example:number{number}", f"    expr: {' '.join(query.split())!r}"]
    file = tmp_path / "rules.yaml"
    file.write_text("\n".join(rules) + "\n")
    result = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"{len(QUERIES)} rules found" in result.stdout
