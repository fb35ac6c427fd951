"""Short runs of the benches and the demo with real processes: everything works together; speed is not judged."""

import math
from pathlib import Path

import orjson
import pytest

from evaluation.bench import demo, fairness, isolation, locality, window
from evaluation.bench.settings import EngineKind
from evaluation.bench.turns import FAULTS, RunOptions
from evaluation.bench.window import PARTS, WindowOptions
from evaluation.report.delivery import EXIT_MISSED, EXIT_PASSED, conduct


def _measured(path: Path) -> dict[str, float]:
    """Every target's number; fails where a bench saw nothing. JSON has no infinity, so null is one."""
    document = orjson.loads(path.read_bytes())
    assert all(not verdict["text"].startswith("nothing") for verdict in document["verdicts"]), document
    return {
        verdict["target"]: math.inf if verdict["measured"] is None else verdict["measured"]
        for verdict in document["verdicts"]
    }


def test_fairness_measures_every_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every scenario, the control and the rounds give a number, and nobody is refused."""
    path = tmp_path / "fairness.json"
    options = RunOptions(engine=EngineKind.EMBEDDED, seconds=1.0, rounds=1, json_file=path, check=True)
    assert conduct(fairness.measure(options), options) in (EXIT_PASSED, EXIT_MISSED)
    measured = _measured(path)
    assert measured[FAULTS.name] == 0
    assert measured[fairness.SPREAD.name] <= 1
    assert "64 outstanding against 16" in capsys.readouterr().out


def test_isolation_measures_every_target(tmp_path: Path) -> None:
    """Waits are found in the gateway's log, TTFT at the client, and no modest request is refused."""
    path = tmp_path / "isolation.json"
    options = RunOptions(engine=EngineKind.EMBEDDED, seconds=2.0, rounds=1, json_file=path, check=False)
    assert conduct(isolation.measure(options), options) == EXIT_PASSED
    measured = _measured(path)
    assert measured[isolation.REFUSED.name] == 0


@pytest.mark.parametrize("subject", list(PARTS))
def test_the_window_bench_measures_every_target(subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part gives a number for each of its targets, and nobody is refused or broken."""
    monkeypatch.setattr(window, "FIXED", (4, 16))
    path = tmp_path / "window.json"
    options = WindowOptions(engine=EngineKind.EMBEDDED, seconds=0.5, rounds=1, subjects=[subject], json_file=path)
    assert conduct(window.measure(options), options) == EXIT_PASSED
    assert _measured(path)[FAULTS.name] == 0


def test_locality_measures_every_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways give a number, and what each tenant found cached is shown."""
    path = tmp_path / "locality.json"
    options = locality.LocalityOptions(engine=EngineKind.EMBEDDED, seconds=2.0, rounds=1, json_file=path)
    assert conduct(locality.measure(options), options) == EXIT_PASSED
    assert _measured(path)[FAULTS.name] == 0
    assert "tenant-8" in capsys.readouterr().out


def test_the_demo_ends_with_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal it prints the view now and then, then the table."""
    options = demo.DemoOptions(seconds=4.0)
    assert conduct(demo.measure(options), options) == EXIT_PASSED
    out = capsys.readouterr().out
    assert "queued" in out and "after 1 s" in out
