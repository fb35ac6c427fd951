"""The verdicts as a page that stands by itself: HTML where the file is named so, Markdown otherwise."""

from html import escape
from pathlib import Path

from evaluation.conformance.judgement import Outcome
from evaluation.conformance.report import margin_text, number_text, summary
from evaluation.conformance.suite import Finding, Findings

_COLOURS = {Outcome.PASSED: "#1a7f37", Outcome.FAILED: "#cf222e", Outcome.NOT_APPLICABLE: "#6e7781"}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #8884; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
.verdict { color: #fff; border-radius: .3rem; padding: .05rem .5rem; white-space: nowrap; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0 0 0 1.2rem; }
:root { color-scheme: light dark; }
"""


def write_page(findings: Findings, stamp: str, file: Path) -> None:
    """Write the page; `stamp` is the time of the run."""
    is_html = file.suffix.lower() in (".html", ".htm")
    file.write_text(html(findings, stamp) if is_html else markdown(findings, stamp), encoding="utf-8")


def markdown(findings: Findings, stamp: str) -> str:
    """The page as Markdown."""
    lines = [f"# Fairness of {findings.url}", "", f"{summary(findings)}. Run at {stamp}.", ""]
    lines += [f"- {name}: {value}" for name, value in findings.setting.items()]
    lines += ["", "| scenario | verdict | number | margin |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(_cells(finding)) + " |" for finding in findings.findings]
    for finding in findings.findings:
        lines += ["", f"## {finding.scenario.title}", "", finding.scenario.claim, ""]
        lines += [f"- {name}: {text}" for name, text in _explained(finding)]
    return "\n".join(_one_line(line) for line in lines) + "\n"


def html(findings: Findings, stamp: str) -> str:
    """The page as HTML without anything from outside."""
    title = escape(f"Fairness of {findings.url}")
    setting = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in findings.setting.items())
    rows = "".join(_row(finding) for finding in findings.findings)
    sections = "".join(_section(finding) for finding in findings.findings)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{escape(summary(findings))}. Run at {escape(stamp)}.</p><ul>{setting}</ul>"
        "<table><thead><tr><th>scenario</th><th>verdict</th><th>number</th><th>margin</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{sections}</body></html>\n"
    )


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    judgement = finding.judgement
    return finding.scenario.title, judgement.outcome.value, number_text(judgement), margin_text(judgement)


def _explained(finding: Finding) -> list[tuple[str, str]]:
    judgement = finding.judgement
    measures = f" ({judgement.margin.name})" if judgement.margin else ""
    return [
        ("verdict", f"{judgement.outcome.value}: {judgement.reason}"),
        ("number", f"{number_text(judgement)}, margin {margin_text(judgement)}{measures}"),
        ("how it is judged", finding.scenario.method),
        ("why this margin", finding.scenario.margin_reason),
    ]


def _row(finding: Finding) -> str:
    title, verdict, number, margin = (escape(cell) for cell in _cells(finding))
    colour = _COLOURS[finding.judgement.outcome]
    return (
        f'<tr><td><a href="#{finding.scenario.name}">{title}</a></td>'
        f'<td><span class="verdict" style="background:{colour}">{verdict}</span></td>'
        f'<td class="number">{number}</td><td class="number">{margin}</td></tr>'
    )


def _section(finding: Finding) -> str:
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _explained(finding))
    scenario = finding.scenario
    return f'<h2 id="{scenario.name}">{escape(scenario.title)}</h2><p>{escape(scenario.claim)}</p><dl>{entries}</dl>'


def _one_line(text: str) -> str:
    """A reason may quote what a server said, line ends included."""
    return " ".join(text.split()) if "\n" in text or "\r" in text else text
