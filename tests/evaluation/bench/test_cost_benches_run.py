"""Tiny runs of the benches of cost with real processes: everything works together; speed is not judged."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from evaluation.bench import blocking, ledger, scheduler
from evaluation.bench.datapath import command as datapath
from evaluation.bench.datapath import contenders
from evaluation.bench.datapath.contenders import Contender
from evaluation.bench.datapath.loads import BURST, CHATS, FEW, FEW_SHORT, MANY_WORKERS, WHOLE
from evaluation.bench.ledger_load import Turn
from evaluation.report.delivery import EXIT_MISSED, EXIT_PASSED, conduct

# Loads that a machine busy with other work carries too.
LIGHT = {
    "steps-64": replace(FEW, count=8, pace=20),
    "short-64": replace(FEW_SHORT, count=4, lengths=(20,)),
    "chats": replace(CHATS, count=4),
    "whole": replace(WHOLE, count=2),
    "burst": replace(BURST, count=20),
    "rest-250": replace(MANY_WORKERS, count=3),
}


def test_the_datapath_bench_measures_gateway_and_peer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every load gives costs and times, a peer that does not start is left out."""
    broken = Contender("broken", module="evaluation.no_such_module")
    monkeypatch.setattr(contenders, "CONTENDERS", {**contenders.CONTENDERS, "broken": broken})
    monkeypatch.setattr(datapath, "LOADS", LIGHT)
    found = tmp_path / "datapath.json"
    options = datapath.DatapathOptions(
        loads=tuple(LIGHT),
        peers=("aiohttp", "broken", "floor"),
        rounds=1,
        seconds=1.5,
        json_file=found,
    )
    assert conduct(datapath.measure(options), options) == EXIT_PASSED
    rounds = orjson.loads(found.read_bytes())["measurements"]["rounds"]
    resting = rounds.pop(MANY_WORKERS.name)
    assert set(resting) == {"gateway"} and resting["gateway"][0]["processor_seconds"] > 0
    assert set(rounds) == {load.name for load in (FEW, FEW_SHORT, CHATS, WHOLE, BURST)}
    for load in rounds.values():
        assert set(load) == {"direct", "gateway", "aiohttp", "floor"}
        assert all(seen["done"] > 0 and seen["faults"] == 0 for seen, *_ in load.values())
    assert all(seen["done"] == 20 for seen, *_ in rounds[BURST.name].values())
    assert rounds[FEW.name]["gateway"][0]["processor_seconds"] > 0
    printed = capsys.readouterr()
    assert "whole answers" in printed.out
    assert "broken does not serve here" in printed.out + printed.err


def test_the_scheduler_bench_measures_every_series(tmp_path: Path) -> None:
    """Each series gives a time for every decision; the verdicts name the sizes that were run."""
    found = tmp_path / "scheduler.json"
    options = scheduler.SchedulerOptions(most=10_000, rounds=1, json_file=found, check=True)
    assert conduct(scheduler.measure(options), options) in (EXIT_PASSED, EXIT_MISSED)
    document = orjson.loads(found.read_bytes())
    assert {series: len(trials) for series, trials in document["measurements"].items()} == {
        "waiting": 2,
        "known": 2,
        "queued": 1,
    }
    for trials in document["measurements"].values():
        for trial in trials:
            assert min(trial["arrival_seconds"], trial["dispatch_seconds"], trial["settlement_seconds"]) > 0
    assert any("10,000 queued requests" in verdict["target"] for verdict in document["verdicts"])


def test_the_ledger_bench_measures_loads_and_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each load has turns with and without a ledger, and every row is written; each report has a time."""
    monkeypatch.setattr(ledger, "LOADS", (ledger.BUSY,))
    found = tmp_path / "ledger.json"
    options = ledger.LedgerOptions(rows=5000, rounds=1, seconds=0.5, folder=tmp_path, json_file=found, check=True)
    assert conduct(ledger.measure(options), options) in (EXIT_PASSED, EXIT_MISSED)
    document = orjson.loads(found.read_bytes())
    (series,) = document["measurements"]["turns"].values()
    (kept,), (plain,) = series["kept"], series["plain"]
    assert min(kept["rows"], plain["rows"]) > 100
    assert kept["writer_seconds"] > 0 == plain["writer_seconds"]
    assert min(series["floor_seconds"]) > 0
    large = document["measurements"]["large file"]
    assert set(large["reports"]) == {"tenant", "key", "model", "end_user"}
    assert min(large["start_seconds"], *large["reports"].values()) > 0
    assert len(document["verdicts"]) == 8
    assert [each.name for each in tmp_path.iterdir()] == ["ledger.json"]


def test_a_ledger_that_costs_too_much_is_judged_so() -> None:
    """By its ratio to SQLite alone, by the median difference of the loop, by the difference of the lags."""
    with_one = [Turn(100, loop, writer, 0.004) for loop, writer in ((0.011, 0.004), (0.012, 0.004), (0.9, 0.9))]
    series = ledger.Series(ledger.BUSY, with_one, [Turn(100, 0.01, 0.0, 0.003)] * 3, [10e-6] * 3)
    large = ledger.LargeFile(10, 1.0, {"tenant": 5.5})
    judged = {verdict.target.name: (verdict.measured, verdict.passed) for verdict in ledger.verdicts([series], large)}
    assert list(judged.values()) == [
        (pytest.approx(4.0), False),
        (pytest.approx(20.0), False),
        (pytest.approx(1.0), False),
        (1.0, True),
        (5.5, False),
    ]


def test_the_blocking_bench_tries_every_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each input is answered, and the loop turned meanwhile; the longest turn is judged for each size of body."""
    monkeypatch.setattr(blocking, "TENANTS", 20)
    monkeypatch.setattr(blocking, "BODY_MIB", (2,))
    monkeypatch.setattr(blocking, "ANSWER_MIB", 1)
    monkeypatch.setattr(blocking, "TURN", {2: blocking.TURN[4]})
    found = tmp_path / "blocking.json"
    options = blocking.BlockingOptions(rounds=1, json_file=found, check=True)
    assert conduct(blocking.measure(options), options) in (EXIT_PASSED, EXIT_MISSED)
    document = orjson.loads(found.read_bytes())
    findings = document["measurements"]["2"]
    assert set(findings) == set(blocking.inputs(2 * 2**20)) | set(blocking.answers(1))
    assert {each["status"] for each in findings.values()} == {200, 400, 415}
    assert all(each["turn_seconds"] > 0 and each["lag_p999_seconds"] >= 0 for each in findings.values())
    assert [verdict["measured"] for verdict in document["verdicts"]] == [
        max(each["turn_seconds"] for each in findings.values()) * 1e3,
        0,
    ]
