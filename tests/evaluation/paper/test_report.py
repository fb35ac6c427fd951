"""The report of fabricated runs is valid and complete, and refers to nothing that must be fetched."""

from html import unescape

import orjson
import pytest
from page_reader import Reader, rows_of

from evaluation.paper.experiment import experiments
from evaluation.paper.findings import assemble, encode_numbers
from evaluation.paper.judgement import COLUMNS
from evaluation.report.document import Document
from evaluation.report.pages import render_html, render_markdown
from evaluation.report.verdicts import number

from .fabricated import findings_of

EXPERIMENTS = experiments()


@pytest.fixture(scope="module")
def document() -> Document:
    """Return the whole report."""
    return assemble(findings_of(EXPERIMENTS), ["70 runs."])


@pytest.fixture(scope="module")
def page(document: Document) -> Reader:
    """Return the parsed page."""
    return Reader(render_html(document))


def test_every_tag_is_closed_and_every_id_unique(page: Reader) -> None:
    """Every tag is closed in order, and no two parts have the same id."""
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_the_page_needs_no_network(document: Document, page: Reader) -> None:
    """It refers to its own sections and to files beside it, has no script and no imported style."""
    sections = {f"#{name}" for name in page.ids}
    pictures = {section.picture for section in document.sections if section.picture}
    assert set(page.references) == sections | pictures
    text = render_html(document)
    assert not any(word in text for word in ("http:", "https:", "@import", "url(", "<script"))


def test_every_table_of_the_document_is_on_the_page(document: Document, page: Reader) -> None:
    """The page has every row of every sheet, in order, cell by cell."""
    assert page.tables == [rows_of(sheet) for section in document.sections for sheet in section.sheets]
    assert len(page.tables) > len(EXPERIMENTS)


def test_every_picture_says_what_is_seen(page: Reader) -> None:
    """Every picture has a text for readers who cannot see it."""
    assert page.images and all(len(image["alt"] or "") > 20 for image in page.images)


@pytest.mark.parametrize("render", [render_html, render_markdown], ids=["html", "markdown"])
def test_published_numbers_are_shown(document: Document, render: object) -> None:
    """Both forms of the report have every row of every table and every printed number of the paper."""
    assert callable(render)
    text = unescape(render(document))
    for experiment in EXPERIMENTS:
        assert experiment.title in text
        for printed in experiment.printed:
            assert f"{number(printed.published)}{printed.unit}" in text
        for row in experiment.table.published.values() if experiment.table else ():
            assert all(number(getattr(row, column)) in text for column in COLUMNS)


def test_no_difference_stands_alone(document: Document) -> None:
    """Every table with a difference also has throughput, refusals and isolation."""
    sheets = [sheet for section in document.sections for sheet in section.sheets if "max difference" in sheet.columns]
    assert len(sheets) == len(EXPERIMENTS)
    for sheet in sheets:
        assert {"tokens/s", "refused", "modest tenants' TTFT"} <= set(sheet.columns)
        assert all(len(row.cells) == len(sheet.columns) for row in sheet.rows)


def test_missed_targets_stand_first(document: Document) -> None:
    """The fabricated numbers miss most targets: the overview says how many, and the list begins with them."""
    met, _, total = document.statements[0].text.split()[:3]
    marks = [row.cells[3] for row in document.sections[-1].sheets[0].rows]
    assert (int(met), int(total)) == (marks.count("met"), len(marks))
    assert marks == sorted(marks, reverse=True, key=lambda mark: mark == "missed")
    assert "missed" in marks


def test_another_trace_is_said_to_be_one() -> None:
    """If the published numbers are of another trace, the section says so."""
    without = assemble(findings_of(EXPERIMENTS, real_trace=False), [])
    said = [
        section.key for section in without.sections if any("not the published one" in each for each in section.remarks)
    ]
    assert said == [experiment.key for experiment in EXPERIMENTS if experiment.needs_trace]


def test_the_numbers_hold_every_run_and_verdict() -> None:
    """The JSON has all of them, and its bytes are the same for the same runs."""
    findings = findings_of(EXPERIMENTS)
    encoded = encode_numbers(findings, seed=3)
    assert encoded == encode_numbers(findings_of(EXPERIMENTS), seed=3)
    numbers = orjson.loads(encoded)
    assert numbers["seed"] == 3
    for each in findings:
        entry = numbers["experiments"][each.experiment.key]
        assert len(entry["verdicts"]) == len(each.verdicts)
        assert all(name in numbers["trials"] for name in entry["runs"].values())
