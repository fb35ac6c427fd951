"""Rules and dashboard as files: promtool's judgement, a test and a runbook for each alert, a clean layout."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_deploy_monitoring import DASHBOARD, PANELS, RECORDED, RULES

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS: list[dict[str, Any]] = [rule for rule in RULES if "alert" in rule]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text().split("\n## Alerts, ", 1)[1].split("\n## ", 1)[0]
MONITORING = ROOT / "deploy" / "kubernetes" / "components" / "monitoring"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The output of promtool."""
    path = shutil.which("promtool")
    assert path is not None, "promtool is missing: run scripts/install-system (Debian package prometheus)"
    return subprocess.run([path, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)


def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    """Syntax, expressions and templates are right, and no rule stands there twice."""
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == 2
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", "alerting.rules.yml").returncode == 0


def test_promtool_runs_the_tests_of_the_rules() -> None:
    """Each alert fires on what it is for and on nothing beside it."""
    done = promtool("test", "rules", "rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_notices_a_rule_that_is_wrong(tmp_path: Path) -> None:
    """The tests of the rules can fail: with one threshold moved they do."""
    for file in PROMETHEUS.glob("*.yml"):
        text = file.read_text()
        changed = text.replace("worker_faults:ratio5m > 0.02", "worker_faults:ratio5m > 0.2")
        (tmp_path / file.name).write_text(changed)
    done = promtool("test", "rules", str(tmp_path / "rules.test.yml"))
    assert done.returncode == 1
    assert "VtcStreamsBreak" in done.stderr + done.stdout


def test_every_rule_has_a_test() -> None:
    """Each alert is expected to fire somewhere, each recording has an expected value."""
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test["promql_expr_test"]]
    fired = {
        name
        for check in checks
        if check["exp_samples"]
        for name in re.findall(r'alertname="(\w+)", alertstate="firing"', check["expr"])
    }
    assert fired == {alert["alert"] for alert in ALERTS}
    assert all(any(name in check["expr"] and check["exp_samples"] for check in checks) for name in RECORDED)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_leads_to_its_section(alert: dict[str, Any]) -> None:
    """It says how urgent it is and what it means, and names a section that exists and agrees about the urgency."""
    severity = alert["labels"]["severity"]
    assert severity in ("page", "ticket")
    assert {"summary", "description"} < alert["annotations"].keys()
    assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"
    section = RUNBOOK.split(f"\n### {alert['alert']}\n", 1)[1].split("\n### ", 1)[0]
    assert section.strip().startswith(f"*{severity.title()}.*")


def test_the_runbook_has_no_other_section() -> None:
    """Sections of alerts that are gone are gone."""
    assert sorted(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == sorted(alert["alert"] for alert in ALERTS)


def test_the_operator_gets_the_same_rules() -> None:
    """The PrometheusRule holds the groups of the rule files; `write-rules` writes it."""
    groups = [
        group
        for name in ("recording", "alerting")
        for group in yaml.safe_load((PROMETHEUS / f"{name}.rules.yml").read_text())["groups"]
    ]
    rule = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"]["groups"] == groups, "run deploy/kubernetes/components/monitoring/write-rules"


def test_panels_do_not_overlap_and_fill_the_width() -> None:
    """Every cell of the 24 columns belongs to exactly one panel or row, down to the last line."""
    cells: dict[tuple[int, int], int] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            assert cell not in cells, f"{panel['title']} lies over another panel"
            cells[cell] = panel["id"]
    height = max(y for _, y in cells) + 1
    assert cells.keys() == {(x, y) for x in range(24) for y in range(height)}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_explains_itself(panel: dict[str, Any]) -> None:
    """It has a description, a unit, the templated data source, and legends where several lines meet."""
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        assert panel["type"] == "stat" or target["legendFormat"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_panels_of_the_gateway_follow_the_selection() -> None:
    """Whatever has a pool or a tenant is filtered by the variables of the same names."""
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "pool", "tenant"}
    for target in (target for panel in PANELS for target in panel["targets"]):
        for label in re.findall(r"{{(pool|tenant)}}", target["legendFormat"]):
            assert f'{label}=~"${label}"' in target["expr"], target["expr"]
