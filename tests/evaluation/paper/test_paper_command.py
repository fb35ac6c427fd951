"""The command runs what is asked for, gives the same bytes for the same seed, and names what was missed."""

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
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


@dataclass(frozen=True)
class Ran:
    """What one run of the command has left: its folder, its exit status, and what it printed."""

    out: Path
    status: int
    printed: str
    complained: str

    @property
    def numbers(self) -> bytes:
        """The file of its numbers."""
        return (self.out / "numbers.json").read_bytes()


def _tiny(file: Path) -> Experiment:
    """Two short runs: the experiment meets one target and cannot meet the other."""
    file.write_text(WORKLOAD)
    return Experiment(
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """The command with a tiny experiment: checked, as JSON, and with another seed; each starts processes of its own."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "checked": PaperOptions(out=folder / "checked", seed=1, check=True),
        "json": PaperOptions(out=folder / "json", seed=1, json=True),
        "other seed": PaperOptions(out=folder / "other seed", seed=2),
    }
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        experiment = _tiny(folder / "tiny.yaml")
        patch.setattr(command, "experiments", lambda: (experiment,))
        for name, chosen in options.items():
            with redirect_stdout(StringIO()) as printed, redirect_stderr(StringIO()) as complained:
                status = run(chosen)
            found[name] = Ran(chosen.out, status, printed.getvalue(), complained.getvalue())
    return found


def test_the_same_seed_gives_the_same_numbers(runs: dict[str, Ran]) -> None:
    """Two runs in several processes write the same bytes; another seed draws other arrivals."""
    assert runs["checked"].numbers == runs["json"].numbers
    assert orjson.loads(runs["json"].numbers)["trials"] != orjson.loads(runs["other seed"].numbers)["trials"]


@pytest.mark.parametrize("name", ["checked", "json", "other seed"])
def test_a_report_has_its_files_and_its_picture(runs: dict[str, Ran], name: str) -> None:
    """However it is asked for, the report is whole, and something is drawn in the picture."""
    out = runs[name].out
    assert {each.name for each in out.iterdir()} == {"index.html", "report.md", "numbers.json", "figures"}
    assert Drawn(out / "figures" / "tiny.png").shows(BLUE, VERMILION)


def test_check_names_the_missed_target(runs: dict[str, Ran]) -> None:
    """The status is 1, and stderr has the missed target with its number but not the target that was met."""
    assert (runs["checked"].status, runs["other seed"].status) == (1, 0)
    missed = [line for line in runs["checked"].complained.splitlines() if line.startswith("missed")]
    assert len(missed) == 1 and "less than nothing" in missed[0]
    assert "1 of 2 targets met" in runs["checked"].printed


def test_json_prints_the_numbers_and_nothing_else(runs: dict[str, Ran]) -> None:
    """Programs can read standard output, which has the bytes of the file."""
    assert runs["json"].status == 0
    assert runs["json"].printed.encode() == runs["json"].numbers


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
