"""`vtc-gateway simulate` prints and writes its results, and says why it refuses."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app

WORKLOAD = """
name: small
description: Two tenants, one over its share.
source: a test
seconds: 30
tenant_defaults: {prompt: 200, output: 100}
tenants:
  - {name: modest, arrivals: {kind: poisson, per_minute: 20}}
  - {name: flood, weight: 2, arrivals: {kind: poisson, per_minute: 400}}
"""


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    """Write a workload's file and return its path."""
    path = tmp_path / "small.yaml"
    path.write_text(WORKLOAD)
    return path


def simulate(*arguments: object) -> tuple[int, str]:
    """Run the command; returns its status and output."""
    done = CliRunner().invoke(app, ["simulate", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.output


@pytest.mark.parametrize("engine", ["paper", "vllm"])
def test_the_same_command_writes_the_same_bytes(workload: Path, tmp_path: Path, engine: str) -> None:
    """Two runs write the same file, and another seed writes another."""
    files = [tmp_path / f"{name}.json" for name in ("first", "second", "other")]
    for file, seed in zip(files, (5, 5, 6), strict=True):
        assert simulate(workload, "--engine", engine, "--seed", seed, "--json", file)[0] == 0
    first, second, other = (file.read_bytes() for file in files)
    assert first == second != other


def test_the_figures_say_who_got_what(workload: Path, tmp_path: Path) -> None:
    """Every tenant has its row, spread and bound are shown, and the file has each request."""
    file = tmp_path / "figures.json"
    status, output = simulate(workload, "--predictor", "quantile", "--json", file)
    assert status == 0
    assert all(word in output for word in ("modest", "flood", "service/s", "TTFT p95", "tokens/s", "bound"))
    figures = json.loads(file.read_bytes())
    assert {request["tenant"] for request in figures["requests"]} == {"modest", "flood"}
    assert figures["charged"] == {name: sums[-1] for name, sums in figures["service"]["cumulative"].items()}
    assert 0 < figures["largest_spread"] <= figures["bound"]


def test_service_is_reported_while_the_workload_lasts(workload: Path, tmp_path: Path) -> None:
    """Service until the last arrival stands beside the fair share: over the whole run a flood gets all it asked for."""
    file = tmp_path / "figures.json"
    output = simulate(workload, "--json", file)[1]
    assert "within the workload's 30 s" in output
    figures = json.loads(file.read_bytes())
    loaded = figures["loaded"]
    for name, received in loaded["service"].items():
        row = next(line.split() for line in output.splitlines() if line.startswith(name))
        assert row[3:5] == [f"{received / 30:.0f}", f"{loaded['fair_shares'][name] / 30:.0f}"]
    assert loaded["service"]["flood"] == pytest.approx(loaded["fair_shares"]["flood"], abs=figures["bound"])
    assert loaded["service"]["flood"] < 0.8 * figures["charged"]["flood"]


def test_refusals_are_counted(workload: Path) -> None:
    """`rpm:10` refuses most of the flood."""
    output = simulate(workload, "--policy", "rpm:10")[1]
    row = next(line.split() for line in output.splitlines() if line.startswith("flood"))
    assert int(row[1]) - int(row[2]) == 10


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere.yaml",), "nowhere.yaml"),
        (("overload", "--policy", "fifo"), "choose one of vtc, fcfs"),
        (("overload", "--predictor", "noisy_oracle:much"), "must be a number"),
        (("overload", "--pool-tokens", "500"), "--pool-tokens 545 or more does"),
        (("overload", "--engine", "vllm", "--max-model-len", "500"), "--max-model-len 512 or more does"),
    ],
)
def test_what_cannot_be_played_is_2(arguments: tuple[str, ...], complaint: str) -> None:
    """The status is 2, and stderr has the reason in words."""
    status, output = simulate(*arguments)
    assert status == 2
    assert complaint in output and "Traceback" not in output


LONG_ROWS = "arrival_seconds,tenant,prompt_tokens,output_tokens\n0,a,7437,1899\n4.27,b,396,109\n"


@pytest.mark.parametrize("engine", ["paper", "vllm"])
def test_a_trace_of_long_requests_plays_with_default_options(tmp_path: Path, engine: str) -> None:
    """The engine grows to the longest request and says its size; that size given by hand plays the same."""
    trace, grown, given = tmp_path / "trace", tmp_path / "grown.json", tmp_path / "given.json"
    trace.write_text(LONG_ROWS)
    status, output = simulate(trace, "--engine", engine, "--json", grown)
    assert status == 0
    size = re.search(r"played with (--[\w-]+) (\d+)", output)
    assert size is not None and int(size[2]) >= 7437 + 1899
    assert simulate(trace, "--engine", engine, size[1], size[2], "--json", given)[0] == 0
    assert grown.read_bytes() == given.read_bytes()
    assert simulate(trace, "--engine", engine, size[1], int(size[2]) - 1)[0] == 2


def test_what_fits_is_played_as_it_is(workload: Path) -> None:
    """Nothing is said of a size if the usual engine holds every request."""
    assert "played with" not in simulate(workload)[1]
