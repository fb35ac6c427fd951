"""The verdicts as JUnit XML, in the form that CI systems read: one suite, one case per scenario.

Schema: the one of Ant's JUnit task that Jenkins, GitLab and GitHub's reporters accept. A verdict is a case: failed with
its reason, or skipped where it does not apply; numbers are in its output.
"""

import re
from xml.etree import ElementTree

from evaluation.conformance.judgement import Outcome
from evaluation.conformance.report import margin_text, number_text
from evaluation.conformance.suite import Finding, Findings

SUITE = "vtc-gateway conformance"
# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(findings: Findings, stamp: str) -> bytes:
    """The document; `stamp` is the ISO 8601 time of the run."""
    counts = {
        "tests": str(len(findings.findings)),
        "failures": str(len(findings.failures)),
        "errors": "0",
        "skipped": str(findings.count(Outcome.NOT_APPLICABLE)),
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
    if judgement.outcome is Outcome.FAILED:
        failure = ElementTree.SubElement(case, "failure", {"message": reason, "type": finding.scenario.name})
        failure.text = _clean(finding.scenario.claim)
    elif judgement.outcome is Outcome.NOT_APPLICABLE:
        ElementTree.SubElement(case, "skipped", {"message": reason})
    out = ElementTree.SubElement(case, "system-out")
    out.text = f"{number_text(judgement)} (margin {margin_text(judgement)}): {reason}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
