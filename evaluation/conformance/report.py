"""The verdicts for people on the terminal and for programs as JSON."""

from rich.table import Table

from evaluation.conformance.judgement import Judgement, Outcome
from evaluation.conformance.suite import Finding, Findings
from evaluation.report.verdicts import number

_MARKS = {
    Outcome.PASSED: "[green]passed[/]",
    Outcome.FAILED: "[bold red]failed[/]",
    Outcome.NOT_APPLICABLE: "[dim]not applicable[/]",
}


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
    return ", ".join(f"{findings.count(outcome)} {outcome.value}" for outcome in Outcome)


def table(findings: Findings) -> Table:
    """One row per scenario."""
    drawn = Table(title=f"fairness of {findings.url}", caption=summary(findings), title_justify="left")
    drawn.add_column("scenario", no_wrap=True)
    drawn.add_column("verdict", no_wrap=True)
    drawn.add_column("number", justify="right", no_wrap=True)
    drawn.add_column("margin", justify="right", no_wrap=True)
    drawn.add_column("reason")
    for finding in findings.findings:
        judgement = finding.judgement
        mark = _MARKS[judgement.outcome]
        drawn.add_row(
            finding.scenario.title, mark, number_text(judgement), margin_text(judgement), _plain(judgement.reason)
        )
    return drawn


def document(findings: Findings) -> dict[str, object]:
    """The findings as JSON data; a number that is not finite becomes null."""
    return {
        "suite": "conformance",
        "url": findings.url,
        "setting": findings.setting,
        "passed": not findings.failures,
        "counts": {outcome.value: findings.count(outcome) for outcome in Outcome},
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


def _plain(text: str) -> str:
    """Text that holds no markup: a server's error may hold brackets."""
    return text.replace("[", r"\[")
