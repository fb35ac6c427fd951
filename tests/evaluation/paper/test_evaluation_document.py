"""docs/evaluation.md cannot drift: it names every experiment, and its pictures are there and small."""

import re
from pathlib import Path

from evaluation.paper.experiments import EXPERIMENTS
from evaluation.paper.judgement import COLUMNS
from evaluation.paper.published import TABLE_2

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "evaluation.md").read_text("utf-8")
LARGEST_PICTURE_BYTES = 60_000


def test_every_experiment_is_listed_by_its_name() -> None:
    """As `--only` takes it, with its title, in the order of the report."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(experiment.key, experiment.title) for experiment in EXPERIMENTS]


def test_pictures_are_there_and_small() -> None:
    """Every picture of the page is a small PNG and says what is seen."""
    shown = re.findall(r"^!\[(.+)\]\((images/.+\.png)\)$", PAGE, re.MULTILINE)
    assert len(shown) == PAGE.count("![")
    for alt, file in shown:
        content = (DOCS / file).read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) < LARGEST_PICTURE_BYTES
        assert len(alt) > 20


def test_the_published_half_of_table_2_is_what_was_published() -> None:
    """Rounded as the page rounds: the columns of the paper in its rows."""
    rows = re.findall(r"^\| (?:FCFS|LCF|VTC|RPM).*\|$", PAGE, re.MULTILINE)
    assert len(rows) == len(TABLE_2)
    for text, row in zip(rows, TABLE_2.values(), strict=True):
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        maximum, average, _, throughput = (getattr(row, column) for column in COLUMNS)
        assert float(cells[1]) == round(maximum)
        assert float(cells[3]) in (round(average), round(average, 1))
        assert float(cells[5]) == throughput
