"""docs/evaluation.md cannot drift: one run wrote its numbers, and it names every experiment and picture."""

import re
from pathlib import Path

import pytest
from drawn import Drawn

from evaluation.paper.experiment import experiments, published_tables
from evaluation.paper.findings import block, conclusions, find
from evaluation.paper.laboratory import Source, distinct_trials, run_trials
from evaluation.pictures.picture import CYCLE
from evaluation.report.verdicts import number

from .fabricated import findings_of

EXPERIMENTS = experiments()
PUBLISHED = published_tables()["table2"]
DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "evaluation.md").read_text("utf-8")
LARGEST_PICTURE_BYTES = 60_000
QUICK = ("fig3", "fig10", "identities")


def targets() -> list[list[str]]:
    """Return the rows of the page's targets: name, wanted, measured, verdict, note."""
    rows = [line.strip("| ") for line in block(PAGE, "targets").splitlines() if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in row.split(" | ")] for row in rows[2:]]


def test_every_experiment_is_listed_by_its_name() -> None:
    """The page lists what `--only` takes, each with its title, in the order of the report."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(experiment.key, experiment.title) for experiment in EXPERIMENTS]


def test_pictures_are_there_and_small() -> None:
    """Every picture of the page is a small file and says what is seen."""
    shown = re.findall(r"^!\[(.+)\]\((images/.+\.png)\)$", PAGE, re.MULTILINE)
    assert len(shown) == PAGE.count("![")
    for alt, file in shown:
        assert (DOCS / file).stat().st_size < LARGEST_PICTURE_BYTES
        assert len(alt) > 20


@pytest.mark.parametrize("file", sorted((DOCS / "images").glob("*.png")), ids=lambda file: file.stem)
def test_every_picture_of_the_documentation_shows_data(file: Path) -> None:
    """Something is drawn inside the axes."""
    assert any(Drawn(file).shows(colour) for colour in CYCLE)


def test_every_target_of_the_code_stands_on_the_page_and_no_other() -> None:
    """The page has the name and the limit of every target; a new target needs a new run of the page."""
    expected = {
        (verdict.target.name, verdict.target.text) for each in findings_of(EXPERIMENTS) for verdict in each.verdicts
    }
    assert {(row[0], row[1]) for row in targets()} == expected
    assert len(targets()) == sum(len(each.verdicts) for each in findings_of(EXPERIMENTS))


def test_the_count_and_the_list_of_misses_are_those_of_the_targets() -> None:
    """The list of misses names every missed target with its measure, and no other."""
    missed = [row for row in targets() if row[3] == "missed"]
    assert f"; {len(targets()) - len(missed)} of {len(targets())} targets are met." in block(PAGE, "count")
    listed = block(PAGE, "missed")
    for name, wanted, measured, *_ in missed:
        assert f"{name.partition(': ')[2]} {measured} (wanted {wanted})" in listed
    assert listed.count("(wanted ") == len(missed)


def test_the_published_half_of_table_2_is_what_was_published() -> None:
    """The page has every row of the paper, in its order, and a target for each row."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in block(PAGE, "table2").strip().splitlines()[2:]
    ]
    assert [row[0] for row in rows] == list(PUBLISHED)
    for cells, row in zip(rows, PUBLISHED.values(), strict=True):
        published = (row.max_difference, row.average_difference, row.tokens_per_second)
        assert (cells[1], cells[3], cells[5]) == tuple(number(value) for value in published)
    for label in PUBLISHED:
        assert any(row[0].startswith(f"table2: {label}, maximum difference") for row in targets())


def test_a_run_says_what_the_page_says() -> None:
    """Experiments without the trace are run again and give the page's sentences and measures, digit for digit."""
    again = [experiment for experiment in EXPERIMENTS if experiment.key in QUICK]
    measured_runs = run_trials(distinct_trials(again), Source(None, 1), lambda: None)
    for experiment in again:
        findings = find(experiment, measured_runs, real_trace=False)
        for line in conclusions(findings):
            assert line in block(PAGE, "conclusions")
        measured = {row[0]: row[2] for row in targets()}
        for verdict in findings.verdicts:
            assert measured[verdict.target.name] == verdict.text
