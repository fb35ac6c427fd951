"""The verdicts as a table, JSON, JUnit XML and pages: whole, escaped, and readable by what reads such files."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest
from page_reader import Reader, rows_of
from rich.console import Console

from evaluation.conformance.command import ConformanceOptions, deliver, run
from evaluation.conformance.presentation import document, junit, main, page, sheet, write_page
from evaluation.conformance.rules import SHARE, WITHIN, Judgement, failed, judged, not_applicable
from evaluation.conformance.suite import NAMES, SCENARIOS, Finding, Findings
from evaluation.report.delivery import EXIT_MISSED, EXIT_NOT_RUN, EXIT_PASSED
from evaluation.report.pages import render_html, render_markdown
from evaluation.report.terminal import table

STAMP = "2026-01-02T03:04:05+00:00"
HOSTILE = 'it said <b>"no"</b> & [red]\x00\r\nthen nothing'
REPLACED = "\N{REPLACEMENT CHARACTER}"  # what Markdown makes of a zero byte
JUDGEMENTS: tuple[Judgement, ...] = (
    judged(SHARE, 1.25, "a 5/s, b 4/s"),
    judged(SHARE, math.inf, "a 5/s, b nothing"),
    failed(HOSTILE, SHARE),
    not_applicable("no weights"),
    judged(WITHIN, 0.0, "nobody was refused"),
)


def findings() -> Findings:
    """One of each kind."""
    shown = Findings("http://gateway:8000", {"model": "tiny", "endpoint": HOSTILE})
    shown.findings.extend(
        Finding(scenario, judgement, 1.5) for scenario, judgement in zip(SCENARIOS, JUDGEMENTS, strict=False)
    )
    return shown


def test_the_table_has_a_row_for_each_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """Verdict, number, margin and reason, and what an endpoint said is no markup."""
    Console(width=200).print(table(sheet(findings())))
    out = capsys.readouterr().out
    assert out.count("passed") == 3  # two rows and the summary
    assert "1.25 x" in out
    assert "<= 2 x" in out
    assert "infinite x" in out
    assert "[red]" in out
    assert "2 passed, 2 failed, 1 not applicable" in out


def test_the_document_is_json() -> None:
    """Numbers that are not finite are null; nothing is lost by a parser."""
    shown = json.loads(orjson.dumps(document(findings())))
    assert shown["passed"] is False
    assert shown["counts"] == {"passed": 2, "failed": 2, "not applicable": 1}
    assert [row["number"] for row in shown["scenarios"]] == [1.25, None, None, None, 0.0]
    assert [row["outcome"] for row in shown["scenarios"]] == ["passed", "failed", "failed", "not applicable", "passed"]
    assert shown["scenarios"][0]["margin"] == 2.0
    assert shown["scenarios"][2]["reason"] == HOSTILE


def test_junit_counts_what_it_holds() -> None:
    """The attributes that CI systems add up equal the cases, and every case has its scenario's name."""
    root = ElementTree.fromstring(junit(findings(), STAMP))  # noqa: S314 -- made here
    (suite,) = root.findall("testsuite")
    cases = suite.findall("testcase")
    for element in (root, suite):
        assert int(element.attrib["tests"]) == len(cases) == 5
        assert int(element.attrib["failures"]) == len(suite.findall("testcase/failure")) == 2
        assert int(element.attrib["skipped"]) == len(suite.findall("testcase/skipped")) == 1
        assert float(element.attrib["time"]) == sum(float(case.attrib["time"]) for case in cases)
    assert suite.attrib["timestamp"] == STAMP
    assert [case.attrib["name"] for case in cases] == [scenario.title for scenario in SCENARIOS[:5]]
    said = suite.findall("testcase/failure")[1].attrib["message"]
    assert '<b>"no"</b> & [red]?' in said


def test_the_page_leads_to_every_scenario_and_text_stays_text() -> None:
    """Each has a row of the table and a section of its own, and what an endpoint said is no markup."""
    shown = render_html(page(findings(), STAMP))
    (verdicts,) = Reader(shown).tables
    assert [[cell.replace(REPLACED, "\x00") for cell in row] for row in verdicts] == rows_of(sheet(findings()))
    assert len(verdicts) == 1 + len(JUDGEMENTS)
    for name in NAMES[:5]:
        assert f'<a href="#{name}">' in shown and f'<section id="{name}">' in shown
    assert "<b>" not in shown.partition("<body>")[2]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_pages_explain_every_scenario(scenario: object) -> None:
    """Claim, method and the margin's reason are in both forms."""
    shown = Findings("http://gateway:8000")
    shown.findings.extend(Finding(each, not_applicable("-")) for each in SCENARIOS if each is scenario)
    text = render_markdown(page(shown, STAMP))
    (finding,) = shown.findings
    for part in (finding.scenario.claim, finding.scenario.method, finding.scenario.margin_reason):
        assert part in text


def test_the_files_name_decides_its_form(tmp_path: Path) -> None:
    """HTML or Markdown."""
    write_page(findings(), STAMP, tmp_path / "page.HTML")
    write_page(findings(), STAMP, tmp_path / "page.md")
    assert (tmp_path / "page.HTML").read_text() == render_html(page(findings(), STAMP))
    assert (tmp_path / "page.md").read_text() == render_markdown(page(findings(), STAMP))


def test_every_file_that_was_asked_for_is_written(tmp_path: Path) -> None:
    """JSON with the time of the run, JUnit, page."""
    options = ConformanceOptions(
        ["http://gateway:8000"],
        "a=1,b=2",
        json_file=tmp_path / "out.json",
        junit_file=tmp_path / "out.xml",
        page=tmp_path / "out.md",
    )
    deliver(findings(), options, STAMP)
    assert json.loads((tmp_path / "out.json").read_bytes())["time"] == STAMP
    assert (tmp_path / "out.xml").read_bytes() == junit(findings(), STAMP)
    assert (tmp_path / "out.md").read_text() == render_markdown(page(findings(), STAMP))


def test_an_endpoint_that_is_not_there_fails_the_check_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """It is a verdict: exit status 1 with `--check`, 0 without; the table says why."""
    nowhere = "http://127.0.0.1:9"
    assert run(ConformanceOptions([nowhere], "a=1,b=2", model="tiny", check=True)) == EXIT_MISSED
    assert run(ConformanceOptions([nowhere], "a=1,b=2")) == EXIT_PASSED
    assert "the endpoint does not serve" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ConformanceOptions(["gateway:8000"], "a=1,b=2"), "no http:// URL"),
        (ConformanceOptions(["https://gateway:8000"], "a=1,b=2"), "no http:// URL"),
        (ConformanceOptions(["http://gateway:8000"], "a=1"), "1 tenants"),
        (ConformanceOptions(["http://gateway:8000"], "a=1,b=2", scenarios=("fair",)), "no scenario 'fair'"),
    ],
)
def test_what_makes_no_suite_is_2(options: ConformanceOptions, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Told in words on stderr."""
    assert run(options) == EXIT_NOT_RUN
    assert said in capsys.readouterr().err


def test_keys_come_from_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that exists; anything else is a list."""
    file = tmp_path / "keys"
    file.write_text("only=one\n")
    assert run(ConformanceOptions(["http://127.0.0.1:9"], str(file))) == EXIT_NOT_RUN
    assert "1 tenants" in capsys.readouterr().err


def test_suites_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One column per file, one row per scenario, and the throughput that the shares were had at."""
    figures = {"together_tokens_per_second": 812.4}
    shown = findings()
    shown.findings.append(Finding(SCENARIOS[NAMES.index("conservation")], judged(SHARE, 1.0, "-", figures)))
    for name in ("ours", "theirs"):
        (tmp_path / f"{name}.json").write_bytes(orjson.dumps(document(shown)))
    main([str(tmp_path / "ours.json"), str(tmp_path / "theirs.json")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| scenario | ours | theirs |"
    assert lines[2] == f"| {SCENARIOS[0].title} | passed 1.25 | passed 1.25 |"
    assert lines[3] == f"| {SCENARIOS[1].title} | **failed** | **failed** |"
    assert lines[-1] == "| output tokens per second, all together | 812 | 812 |"
    assert len(lines) == 2 + len(SCENARIOS) + 1
