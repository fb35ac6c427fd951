"""A bench's result reaches people, programs and CI: table, file, exit status."""

import math
from pathlib import Path

import orjson
import pytest

from evaluation.load.processes import ChildFailed
from evaluation.report.delivery import (
    EXIT_MISSED,
    EXIT_NOT_RUN,
    EXIT_PASSED,
    Delivery,
    Report,
    conduct,
    deliver,
)
from evaluation.report.terminal import show
from evaluation.report.verdicts import Comparison, Target

RATIO = Target("service of the larger over the smaller", Comparison.AT_MOST, 1.05, " x")


def _report(*measured: float) -> Report:
    return Report("fairness", {"engine": "vllm"}, [RATIO.judge(value) for value in measured], {"n": math.inf})


@pytest.mark.parametrize(
    ("measured", "check", "status"),
    [
        ([1.01], True, EXIT_PASSED),
        ([1.01, 1.2], True, EXIT_MISSED),
        ([1.2], False, EXIT_PASSED),
        ([math.nan], True, EXIT_MISSED),
    ],
)
def test_only_check_turns_a_missed_target_into_a_status(
    measured: list[float], check: bool, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each missed target is named on stderr where it counts."""
    assert deliver(_report(*measured), Delivery(None, check)) == status
    assert ("missed: service of the larger" in capsys.readouterr().err) is (status == EXIT_MISSED)


def test_the_file_holds_every_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON file repeats the table, and is JSON even where a number is infinite."""
    path = tmp_path / "result.json"
    deliver(_report(1.2), Delivery(path, check=False))
    document = orjson.loads(path.read_bytes())
    assert document["passed"] is False
    assert document["verdicts"][0]["measured"] == 1.2
    assert document["measurements"] == {"n": None}
    assert "missed" in capsys.readouterr().out


def test_a_bench_that_cannot_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """A child that failed is told apart from a target that was missed."""

    async def bench() -> Report:
        raise ChildFailed("engine ended; its last log lines:\n[no GPU]")

    assert conduct(bench(), Delivery(None, check=True)) == EXIT_NOT_RUN
    assert "[no GPU]" in capsys.readouterr().err


def test_the_table_shows_target_and_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader sees what was wanted and what was found, side by side."""
    show(_report(1.01).targets)
    text = capsys.readouterr().out
    assert "<= 1.05 x" in text and "1.01 x" in text and "met" in text
