"""The `workloads` command lists, shows and writes workloads."""

from pathlib import Path

import pytest

from evaluation.play.listing import WorkloadsOptions, run
from evaluation.workloads import ReadOptions, load, names
from evaluation.workloads.traces import read_trace


def test_the_command_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    """Each workload has a line with its name and what it is."""
    assert run(WorkloadsOptions(None, ReadOptions())) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(names())
    assert all(load(line.split()[0]).description in line for line in lines)


def test_the_command_shows_and_writes_a_workload(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each tenant has a row, and both files have the same requests."""
    options = WorkloadsOptions("weighted", ReadOptions(seed=3), tmp_path / "a.csv", tmp_path / "a.jsonl")
    assert run(options) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("tenant-")]
    assert rows == [[f"tenant-{n}", str(n), "396", "66.0", *["256"] * 4] for n in range(1, 5)]
    expected = load("weighted", 3).requests
    assert read_trace(tmp_path / "a.csv").requests == expected
    assert read_trace(tmp_path / "a.jsonl").requests == expected


def test_the_command_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name or a file that cannot be written gives status 1 and a line on stderr."""
    assert run(WorkloadsOptions("overlaod", ReadOptions())) == 1
    assert "did you mean `overload`?" in capsys.readouterr().err
    assert run(WorkloadsOptions("overload", ReadOptions(), tmp_path / "absent" / "a.csv")) == 1
    assert "cannot be written" in capsys.readouterr().err
