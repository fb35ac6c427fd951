"""Rows beside the engines' own counters."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from whole_gateway import Plan, chat, stage
from workers_on_stage import CPU_TINY, EngineWorker

from gateway.cli.usage import UsageOptions
from gateway.cli.usage import audit as run
from gateway.config import Ledger
from gateway.ledger.audit import Audit
from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.report import next_quarter
from gateway.ledger.rows import QUARTER_US
from gateway.ledger.worker_times import WorkerTime
from gateway.outcomes import Outcome

from .books import NOON, content, row

QUARTER = int(NOON * 1e6) // QUARTER_US


@pytest.mark.parametrize(
    ("audit", "difference", "words"),
    [
        (Audit("w0", "output", 100, 90, 0, 10, 0), 0, ""),
        (Audit("w0", "output", 100, 90, 5, 0, 2), 10, "bypasses"),
        (Audit("w0", "output", 100, 90, 6, 0, 2), 10, "broke off"),
        (Audit("w0", "output", 100, 90, 0, 0, 5), 10, "the 5 sequences"),
        (Audit("w0", "prompt", 100, 90, 0, 0, 5), 10, "bypasses"),
        (Audit("w0", "prompt", 100, 90, 10, 0, 1), 10, "broke off"),
        (Audit("w0", "output", 100, 120, 5, 0, 0), -20, "readings"),
        (Audit("w0", "output", 0, 90, 90, 0, 9), -90, "never read"),
    ],
)
def test_a_difference_is_named(audit: Audit, difference: int, words: str) -> None:
    """What is charged and what is lost together are what the engine counted, but for what broke off."""
    assert audit.difference == difference
    assert words in audit.remark
    assert bool(audit.remark) is bool(difference)


def test_processes_read_the_same_engines(tmp_path: Path) -> None:
    """Their rows add up; the largest of their counts is that of the engine. Rows without a worker are left out.

    A prompt counts once for each choice. It is estimated if an answer that was not streamed broke off.
    """
    for number, generated in ((1, 90), (2, 100)):
        file = LedgerFile(tmp_path / f"8000-{number}.sqlite")
        broken = {"outcome": Outcome.CLIENT_GONE_WAITING, "output_tokens": 0, "choices": 3}
        rows = [
            row(f"r{number}", lost_output_tokens=1, lost_prompt_tokens=5, choices=2),
            row(f"s{number}", worker=""),
            row(f"t{number}", ttft_seconds=None, **broken),
            row(f"u{number}", **broken),
        ]
        file.write(1, Batch(rows, [], [WorkerTime(QUARTER, "w0", 1, 1, generated, 9 * generated)]))
        file.close()
    assert LedgerFolder(tmp_path).audits(QUARTER, QUARTER + 1) == [
        Audit("w0", "prompt", 900, 1600, 600, 20, 12),
        Audit("w0", "output", 100, 100, 0, 2, 12),
    ]
    assert LedgerFolder(tmp_path).audits(QUARTER + 1, QUARTER + 2) == []


def test_a_whole_gateway_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Streams, whole answers and several sequences: to the token, by the engine's own counter."""

    async def story() -> int:
        async with stage(EngineWorker(CPU_TINY), plan=Plan(ledger=Ledger(folder=tmp_path / "ledger"))) as scene:
            await asyncio.sleep(1)  # for the first reading
            bodies = [chat(10 + number, stream=number % 3 > 0, n=1 + number % 2) for number in range(12)]
            await asyncio.gather(*(scene.ask(body) for body in bodies))
            await asyncio.sleep(3)  # for the last one
            return scene.witness.output_tokens

    generated = asyncio.run(story())
    ((shares_us, count),) = content(tmp_path / "ledger" / "0.sqlite", "SELECT sum(worker_us), count(*) FROM requests")
    ((busy_us,),) = content(tmp_path / "ledger" / "0.sqlite", "SELECT sum(busy_us) FROM worker_time")
    assert abs(shares_us - busy_us) <= count  # each share is rounded to a microsecond
    prompt, output = LedgerFolder(tmp_path / "ledger").audits(0, next_quarter(datetime.now(UTC)))
    assert (output.counted, output.difference) == (generated, 0)
    assert prompt.counted > 0
    assert prompt.difference == 0
    config = tmp_path / "config.yaml"
    config.write_text(
        "pools: [{model: tiny, workers: [{url: 'http://h:1'}]}]\n"
        "tenants: [{name: alice, keys: [{env: NONE_SUCH}]}]\nledger: {}\n"
    )
    assert run(UsageOptions(config, form="json")) == 0
    of_prompts, of_answers = json.loads(capsys.readouterr().out)
    assert (of_prompts["kind"], of_prompts["counted"], of_prompts["difference"]) == ("prompt", prompt.counted, 0)
    assert (of_answers["counted"], of_answers["difference"], of_answers["remark"]) == (generated, 0, "")
    assert run(UsageOptions(config)) == 0
    assert f"{generated:,}" in capsys.readouterr().out
