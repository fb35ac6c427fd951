"""Every rule and every panel of deploy/ is evaluated by a real Prometheus over a real gateway."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from monitored import DEPLOY, Monitored, monitored

from gateway.telemetry.spending import BudgetFamilies

GROUPS = [
    group
    for name in ("recording", "alerting")
    for group in yaml.safe_load((DEPLOY / "prometheus" / f"{name}.rules.yml").read_text())["groups"]
]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = [rule["record"] for rule in RULES if "record" in rule]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "vtc-gateway.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = sorted({target["expr"] for panel in PANELS for target in panel["targets"]})
BUDGETS = {family.name for family in BudgetFamilies().all()}  # the site's gateway shares an account, so it has none
# What Prometheus makes itself.
BUILT_IN = {"up", "ALERTS"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitored(tmp_path_factory.mktemp("site")) as running:
        yield running


def names_in(expression: str) -> set[str]:
    """The names of metrics in an expression of ours: each has a prefix that nothing else begins with."""
    return set(
        re.findall(r"(?<![\w:])(?:vtc_gateway_|vllm:|process_|pool:|pool_tenant:|pool_worker:)[\w:]+", expression)
    )


def filled_in(query: str) -> str:
    """A panel's query as Grafana sends it with everything selected."""
    return query.replace("$__rate_interval", "1m").replace("$pool", ".*").replace("$tenant", ".*")


def test_every_rule_is_evaluated_without_an_error(site: Monitored) -> None:
    """Prometheus has loaded each rule of the files and says of each that it is well."""

    def rules() -> list[dict[str, Any]]:
        return [rule for group in site.api("rules")["groups"] for rule in group["rules"]]

    site.until(lambda: all(rule["health"] != "unknown" for rule in rules()), "every rule was evaluated")
    assert sorted(rule["name"] for rule in rules()) == sorted(rule.get("record") or rule["alert"] for rule in RULES)
    assert {rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"} == {}


@pytest.mark.parametrize("name", RECORDED)
def test_every_recording_has_a_series(site: Monitored, name: str) -> None:
    """A recording over labels that do not match would be silently empty."""
    site.until(lambda: bool(site.query(f"last_over_time({name}[1h])")), f"a sample of {name}")


@pytest.mark.parametrize("query", [query for query in QUERIES if not names_in(query) & BUDGETS])
def test_every_panel_shows_something(site: Monitored, query: str) -> None:
    """Each query of the dashboard is answered, and not with nothing."""
    site.until(lambda: bool(site.query(filled_in(query))), f"a series of {query}")


def test_rules_and_dashboard_name_metrics_that_exist(site: Monitored) -> None:
    """Each name is exported by the running gateway or its engines, recorded by a rule, or Prometheus's own."""
    annotations = [each["expr"] for each in DASHBOARD["annotations"]["list"] if "expr" in each]
    variables = [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    used = {
        name
        for expression in [*(rule["expr"] for rule in RULES), *QUERIES, *annotations, *variables]
        for name in names_in(expression)
    }
    assert len(used) > 40
    known = site.metric_names() | set(RECORDED) | BUDGETS
    assert used <= known | BUILT_IN, used - known


def test_the_scrape_keeps_exactly_what_is_used_of_vllm(site: Monitored) -> None:
    """The relabelling of the workers' job lets through what rules and panels read, by the engines' names."""
    (job,) = [
        job
        for job in yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
        if job["job_name"] == "vtc-workers"
    ]
    kept = {name for name in site.metric_names() if re.fullmatch(job["metric_relabel_configs"][0]["regex"], name)}
    used = {
        name for text in [*(rule["expr"] for rule in RULES), *QUERIES] for name in names_in(text) if name[:5] == "vllm:"
    }
    assert kept == used


@pytest.mark.parametrize("alert", ["VtcTenantLabelOverflow"])
def test_an_alert_is_raised_by_a_real_gateway(site: Monitored, alert: str) -> None:
    """The gateway has more tenants than labels, and Prometheus says so."""
    site.until(lambda: bool(site.query(f'ALERTS{{alertname="{alert}"}}')), f"{alert} is pending")


@pytest.mark.parametrize(
    "alert",
    [
        "VtcNoWorker",
        "VtcSpreadAboveBound",
        "VtcInternalFault",
        "VtcStreamsBreak",
        "VtcStoreUnreachable",
        "VtcReplicasMissing",
        "VtcReplicasDisagree",
        "VtcLedgerFails",
        "VtcLedgerDrops",
        "VtcLedgerDamaged",
    ],
)
def test_a_well_gateway_raises_no_alarm(site: Monitored, alert: str) -> None:
    """What wakes people or calls the gateway broken stays silent over the whole run, pending included."""
    site.until(lambda: len(site.query("count_over_time(vtc_gateway_spread[1h]) > 3")) == 1, "some scrapes have passed")
    assert site.query(f'last_over_time(ALERTS{{alertname="{alert}"}}[1h])') == []
