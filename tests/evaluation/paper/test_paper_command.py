"""The command runs what is asked for, gives the same bytes for the same seed, and names what was missed."""

from pathlib import Path

import orjson
import pytest
from drawn import Drawn
from typer.testing import CliRunner

from evaluation.paper import command
from evaluation.paper.command import PaperOptions, run
from evaluation.paper.experiment import Claim, Experiment, Trial
from evaluation.paper.measures import MeasuredRuns, over
from evaluation.paper.panels import gaps
from evaluation.pictures.picture import BLUE, VERMILION, Picture
from evaluation.report.verdicts import Comparison
from gateway.cli.commands import app

WORKLOAD = """
name: tiny
description: Two tenants over their share for a minute.
seconds: 60
tenant_defaults: {prompt: 256, output: 256}
tenants:
  - {name: tenant-1, arrivals: {kind: poisson, per_minute: 90}}
  - {name: tenant-2, arrivals: {kind: poisson, per_minute: 180}}
"""


def _apart(measured_runs: MeasuredRuns) -> float:
    return over(measured_runs, measured_runs["FCFS"].largest_gap, measured_runs["VTC"].largest_gap)


def _picture(measured_runs: MeasuredRuns) -> Picture:
    return Picture("Gap", [gaps(measured_runs)], "Two lines that part.")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Replace the experiments by one of two short runs: it meets one target and cannot meet the other."""
    file = tmp_path / "tiny.yaml"
    file.write_text(WORKLOAD)
    experiment = Experiment(
        "tiny",
        "A tiny experiment",
        "Two tenants.",
        {"VTC": Trial(str(file)), "FCFS": Trial(str(file), "fcfs")},
        picture=_picture,
        claims=[
            Claim("FCFS's gap is {} times VTC's", Comparison.ABOVE, 1, _apart),
            Claim("FCFS's gap is {} times VTC's, less than nothing", Comparison.AT_MOST, 0, _apart),
        ],
    )
    monkeypatch.setattr(command, "experiments", lambda: (experiment,))
    return experiment


def test_the_same_seed_gives_the_same_numbers(tiny: Experiment, tmp_path: Path) -> None:
    """Two runs in several processes write the same bytes; another seed draws other arrivals."""
    written = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        out = tmp_path / name
        assert run(PaperOptions(out=out, seed=seed)) == 0
        written.append((out / "numbers.json").read_bytes().replace(str(tmp_path).encode(), b""))
        assert {each.name for each in out.iterdir()} == {"index.html", "report.md", "numbers.json", "figures"}
        assert Drawn(out / "figures" / "tiny.png").shows(BLUE, VERMILION)
    assert written[0] == written[1]
    assert orjson.loads(written[0])["trials"] != orjson.loads(written[2])["trials"]


def test_check_names_the_missed_target(tiny: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 1, and stderr has the missed target with its number but not the target that was met."""
    assert run(PaperOptions(out=tmp_path / "report", check=True)) == 1
    captured = capsys.readouterr()
    missed = [line for line in captured.err.splitlines() if line.startswith("missed")]
    assert len(missed) == 1 and "less than nothing" in missed[0]
    assert "1 of 2 targets met" in captured.out


def test_json_prints_the_numbers_and_nothing_else(
    tiny: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs can read standard output, which has the bytes of the file."""
    out = tmp_path / "report"
    assert run(PaperOptions(out=out, json=True)) == 0
    assert capsys.readouterr().out.encode() == (out / "numbers.json").read_bytes()


def test_an_experiment_that_does_not_exist_is_reported() -> None:
    """The status is 2, and stderr lists the experiments that exist."""
    result = CliRunner().invoke(app, ["paper", "--only", "fig99"])
    assert result.exit_code == 2
    assert "fig99" in result.stderr and "table2" in result.stderr


def test_a_trace_that_cannot_be_read_is_reported_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 2, stderr has the file's name, and no report is begun."""
    assert run(PaperOptions(trace=tmp_path / "none.csv", out=tmp_path / "report")) == 2
    assert "none.csv" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
