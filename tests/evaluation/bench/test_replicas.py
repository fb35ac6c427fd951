"""The bench of replicas judges what its runs saw, on runs written by hand; then once for real, for some seconds."""

from pathlib import Path

import orjson
import pytest
from handwritten import run, tally

from evaluation.bench import replicas as bench
from evaluation.bench import store_faults
from evaluation.bench.settings import EngineKind
from evaluation.bench.stage import Run, Stage
from evaluation.bench.turns import RunOptions
from evaluation.load.connection import ExchangeRecord
from evaluation.report.delivery import EXIT_NOT_RUN, EXIT_PASSED, Report, conduct
from evaluation.report.terminal import Progress

EMBEDDED = RunOptions(engine=EngineKind.EMBEDDED)


def _run(skewed: float, spread: float, tokens: int = 1000) -> list[Run]:
    return [run({"skewed": tally(skewed, tokens), "spread": tally(spread)})]


def _missed(skewed: float = 4.0, strange: float = 1.0, tokens: int = 1000, held: int = 17, control: int = 51) -> int:
    """How many targets are missed, where the tenants of 4:1 get so much and those of 1:1 are served well."""
    shared = {
        bench.way(bench.ONE, "4:1"): _run(4, 1),
        bench.way(bench.FLEET, "4:1"): _run(skewed, 1, tokens),
        bench.way(bench.ONE, "1:1"): _run(1, 1),
        bench.way(bench.FLEET, "1:1"): _run(1, 1),
    }
    strangers = {bench.way(bench.STRANGERS, "4:1"): _run(strange, 1), bench.way(bench.STRANGERS, "1:1"): _run(1, 2)}
    found = bench.verdicts(EMBEDDED, bench.Found(shared, held), bench.Found(strangers, control))
    return sum(not verdict.passed for verdict in found)


def test_every_target_can_be_missed() -> None:
    """Shares, the control's shares, throughput, the engines' windows and the control's; each for itself."""
    assert _missed() == 0
    assert _missed(skewed=4.07) == _missed(skewed=4.09) - 1 == 0
    assert _missed(strange=3) == 1
    assert _missed(tokens=979) == 1
    assert _missed(held=18) == _missed(control=17) == 1


def _answered(milliseconds: float, *, requests: int = 100) -> list[Run]:
    """Requests sent in the middle of the window, whose first bytes came after so long."""
    records = [ExchangeRecord("even", 105.0, first_byte_at=105.0 + milliseconds / 1000) for _ in range(requests)]
    return [run({"even": tally(1, records=records)})]


def test_what_trouble_adds_is_judged_against_the_store_well() -> None:
    """Each trouble for itself; a first byte that never came counts as the rest of the window."""
    ways = {store_faults.WELL: _answered(10), "stopped": _answered(10.9), "killed": _answered(11.1)}
    assert [verdict.passed for verdict in store_faults.verdicts(ways)] == [True, False, True]
    unanswered = [run({"even": tally(1, records=[ExchangeRecord("even", 105.0)])})]
    assert store_faults.by_percent(unanswered)["p99"] == 5.0


def test_a_fleet_without_a_store_program_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be run, and says which program to install."""

    async def started() -> Report:
        async with Stage([], tmp_path, Progress()).store():
            raise AssertionError("a store without a program")

    monkeypatch.setenv("PATH", str(tmp_path))
    assert conduct(started(), RunOptions()) == EXIT_NOT_RUN
    assert "valkey-server" in capsys.readouterr().err


def test_three_gateways_with_one_account_share_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On live engines: weights 4:1 within 2 %, no engine above its window; strangers miss both. Speed is not judged."""
    monkeypatch.setattr(bench, "CASTS", {"4:1": bench.CASTS["4:1"]})
    path = tmp_path / "replicas.json"
    options = RunOptions(engine=EngineKind.EMBEDDED, seconds=12.0, rounds=1, json_file=path)
    assert conduct(bench.measure(options), options) == EXIT_PASSED
    found = {each["target"]: each for each in orjson.loads(path.read_bytes())["verdicts"]}
    assert [name for name, each in found.items() if not each["passed"] and "per second" not in name] == []
