"""The verdicts in every form: a table, JSON, JUnit XML, a page that needs no other file, and suites side by side.

The JUnit file follows the schema of Ant's task, which Jenkins, GitLab and GitHub's reporters accept: one suite with one
case per scenario. A case fails with its reason, or is skipped if its scenario does not apply. Its output has the
numbers. `python -m evaluation.conformance.presentation FILE.json...` prints a Markdown table of several suites. It has
a row for each scenario and a column for each file, with the file's name. The last row is the throughput of all tenants
together. Without it shares say little: a gateway that lets nobody through is fair.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson

from evaluation.conformance.rules import Judgement, ScenarioOutcome
from evaluation.conformance.suite import SCENARIOS, Finding, Findings
from evaluation.report.document import Document, Mark, RowKind, Section, Sheet, SheetRow, Statement
from evaluation.report.pages import render_html, render_markdown
from evaluation.report.verdicts import number

SUITE = "vtc-gateway conformance"
# How an outcome is shown: the mark of its sentence, the kind of its row, its word in a comparison of suites.
_SHOWN = {
    ScenarioOutcome.PASSED: (Mark.HOLDS, RowKind.PLAIN, "passed"),
    ScenarioOutcome.FAILED: (Mark.FAILS, RowKind.MISSED, "**failed**"),
    ScenarioOutcome.NOT_APPLICABLE: (Mark.PLAIN, RowKind.QUIET, "-"),
}
# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def number_text(judgement: Judgement) -> str:
    """The number as printed, with its unit."""
    if judgement.number is None:
        return "-"
    unit = judgement.margin.unit if judgement.margin else ""
    return f"{number(round(judgement.number, 3))}{unit}"


def margin_text(judgement: Judgement) -> str:
    """The margin as printed."""
    if judgement.margin is None:
        return "-"
    return f"{judgement.margin.comparison.value} {number(round(judgement.margin.limit, 2))}{judgement.margin.unit}"


def summary(findings: Findings) -> str:
    """How many scenarios passed, failed and did not apply."""
    return ", ".join(f"{findings.count(outcome)} {outcome.value}" for outcome in ScenarioOutcome)


def sheet(findings: Findings) -> Sheet:
    """One row per scenario."""
    rows = []
    for finding in findings.findings:
        judged = finding.judgement
        cells = (judged.outcome.value, number_text(judged), margin_text(judged), judged.reason)
        rows.append(SheetRow((finding.scenario.title, *cells), _SHOWN[judged.outcome][1]))
    title = f"fairness of {findings.url}: {summary(findings)}"
    return Sheet(title, ("scenario", "verdict", "number", "margin", "reason"), rows, words=1)


def document(findings: Findings) -> dict[str, object]:
    """The findings as JSON data; a number that is not finite becomes null."""
    return {
        "suite": "conformance",
        "url": findings.url,
        "setting": findings.setting,
        "passed": not findings.failures,
        "counts": {outcome.value: findings.count(outcome) for outcome in ScenarioOutcome},
        "scenarios": [_row(finding) for finding in findings.findings],
    }


def _row(finding: Finding) -> dict[str, object]:
    judgement, margin = finding.judgement, finding.judgement.margin
    return {
        "name": finding.scenario.name,
        "title": finding.scenario.title,
        "outcome": judgement.outcome.value,
        "number": judgement.number,
        "measures": margin.name if margin else None,
        "comparison": margin.comparison.value if margin else None,
        "margin": margin.limit if margin else None,
        "reason": judgement.reason,
        "seconds": round(finding.seconds, 1),
        "measurements": dict(judgement.measurements),
    }


def write_page(findings: Findings, stamp: str, file: Path) -> None:
    """Write the page, as HTML if the file's name says so, else as Markdown; `stamp` is the time of the run."""
    shown = page(findings, stamp)
    is_html = file.suffix.lower() in (".html", ".htm")
    file.write_text(render_html(shown) if is_html else render_markdown(shown), encoding="utf-8")


def page(findings: Findings, stamp: str) -> Document:
    """The verdicts, then a section for each scenario with its claim, its method and the reason of its margin."""
    setting = [Statement(f"{name}: {value}") for name, value in findings.setting.items()]
    verdicts = Section("verdicts", "Verdicts", sheets=[sheet(findings)])
    sections = [verdicts, *map(_section, findings.findings)]
    return Document(f"Fairness of {findings.url}", (f"{summary(findings)}. Run at {stamp}.",), setting, sections)


def _section(finding: Finding) -> Section:
    judgement, scenario = finding.judgement, finding.scenario
    measures = f" ({judgement.margin.name})" if judgement.margin else ""
    return Section(
        key=scenario.name,
        title=scenario.title,
        setting=scenario.claim,
        statements=[Statement(f"{judgement.outcome.value}: {judgement.reason}", _SHOWN[judgement.outcome][0])],
        remarks=[
            f"Number: {number_text(judgement)}, margin {margin_text(judgement)}{measures}.",
            f"How it is judged: {scenario.method} {scenario.ingress}",
            f"Why this margin: {scenario.margin_reason}",
        ],
    )


def junit(findings: Findings, stamp: str) -> bytes:
    """The XML document; `stamp` is the ISO 8601 time of the run."""
    counts = {
        "tests": str(len(findings.findings)),
        "failures": str(len(findings.failures)),
        "errors": "0",
        "skipped": str(findings.count(ScenarioOutcome.NOT_APPLICABLE)),
        "time": f"{sum(finding.seconds for finding in findings.findings):.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": SUITE, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": SUITE, **counts, "timestamp": stamp})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in {"url": findings.url, **findings.setting}.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for finding in findings.findings:
        _case(suite, finding)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _case(suite: ElementTree.Element, finding: Finding) -> None:
    judgement = finding.judgement
    attributes = {"classname": "conformance", "name": finding.scenario.title, "time": f"{finding.seconds:.3f}"}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    reason = _clean(judgement.reason)
    if judgement.outcome is ScenarioOutcome.FAILED:
        failure = ElementTree.SubElement(case, "failure", {"message": reason, "type": finding.scenario.name})
        failure.text = _clean(finding.scenario.claim)
    elif judgement.outcome is ScenarioOutcome.NOT_APPLICABLE:
        ElementTree.SubElement(case, "skipped", {"message": reason})
    out = ElementTree.SubElement(case, "system-out")
    out.text = f"{number_text(judgement)} (margin {margin_text(judgement)}): {reason}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)


# -- several suites side by side


def comparison(suites: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of the suites' JSON documents by name."""
    found = [{row["name"]: row for row in suite["scenarios"]} for suite in suites.values()]
    rows = [
        ["scenario", *suites],
        ["---"] * (len(suites) + 1),
        *([each.title, *(_cell(rows.get(each.name)) for rows in found)] for each in SCENARIOS),
        ["output tokens per second, all together", *(_throughput(rows.get("conservation")) for rows in found)],
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    mark = _SHOWN[ScenarioOutcome(row["outcome"])][2]
    return mark if row["number"] is None else f"{mark} {number(round(row['number'], 2))}"


def _throughput(row: Mapping[str, Any] | None) -> str:
    rate = row["measurements"].get("together_tokens_per_second") if row else None
    return "-" if rate is None else number(round(rate))


def main(files: Sequence[str]) -> None:
    """Print the table of `files`."""
    suites = {Path(file).stem: orjson.loads(Path(file).read_bytes()) for file in files}
    sys.stdout.write(comparison(suites))


if __name__ == "__main__":
    main(sys.argv[1:])
