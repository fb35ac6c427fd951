"""docs/configuration.md has the row of every key as the models say it, and no other."""

import re
from pathlib import Path

import pytest

from gateway.config import ConfigError, load
from gateway.config.launch import REFUSED

from .reference import HEADER, rows

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def _rows_of_the_page() -> list[str]:
    return [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]


def test_the_page_documents_the_schema() -> None:
    """Each key has the one row that the models give it."""
    page, schema = _rows_of_the_page(), rows()
    assert sorted(set(schema) - set(page)) == []
    assert sorted(set(page) - set(schema)) == []
    assert len(page) == len(schema)


def test_the_page_lists_what_waits_for_a_restart() -> None:
    """Each key that waits belongs to one entry of the list, and no entry has a key that does not wait."""
    text = PAGE.read_text().partition("All that waits is:")[2].strip().partition("\n\n")[0]
    listed = [name for line in text.splitlines() for name in re.findall("`([^`]*)`", line.partition(":")[0])]
    keys = [row.split("`")[1] for row in rows()]
    waiting = {row.split("`")[1] for row in rows() if " | restart | " in row}
    assert {key for key in keys for name in listed if re.match(rf"{re.escape(name)}($|\W)", key)} == waiting
    assert all(any(key.startswith(name) for key in waiting) for name in listed)


def test_every_table_has_the_columns() -> None:
    """Each row stands under the one header."""
    lines = PAGE.read_text().splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("|---")]
    assert starts
    assert all(lines[index - 1] == HEADER and lines[index + 1].startswith("| `") for index in starts)


def test_every_argument_that_is_not_for_the_operator_is_named() -> None:
    """The page names what `launch.arguments` may not hold and what is set instead."""
    text = PAGE.with_name("vllm-arguments.md").read_text()
    assert [flag for flag in REFUSED if f"`{flag}" not in text] == []


def test_the_fault_that_the_page_shows_is_one(tmp_path: Path) -> None:
    """The example of a fault is worded as `check` words it."""
    file = tmp_path / "config.yaml"
    file.write_text("pools: [{model: m, workers: [{url: 'http://h:1'}]}]\ntenants: [{name: a, wieght: 1}]")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    (fault,) = caught.value.faults
    assert f"{fault.path}: {fault.message}\n    remedy: {fault.remedy}" in PAGE.read_text()
