"""A whole gateway whose ledger cannot write: it says so, answers all the same, and writes later what has waited."""

import asyncio
import re
from pathlib import Path

import apsw
import pytest
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import INSTANT, EngineWorker

from gateway.config import Ledger
from gateway.telemetry.life import LEDGER_FAILS, LEDGER_MOVED, LEDGER_WRITES

from .books import check_sums, content
from .disk import faulty_disk


async def until(scene: Stage, **figures: int) -> None:
    """Wait until the metrics of the ledger say so; `works` stands for `vtc_gateway_ledger_works`."""
    wanted = {f"vtc_gateway_ledger_{name} {value}" for name, value in figures.items()}
    while not wanted <= set((await scene.get("/metrics")).body.decode().splitlines()):
        await scene.turn()


async def answered(scene: Stage, requests: int) -> None:
    """Ask so many times."""
    for _ in range(requests):
        assert (await scene.ask(chat(3))).status == 200


def messages(scene: Stage) -> list[str]:
    """What the log says of the ledger, in order."""
    said = "|".join((LEDGER_FAILS, LEDGER_WRITES, LEDGER_MOVED))
    return re.findall(f'"({said})"', scene.end_log())


def rows(folder: Path) -> int:
    """How many are in the file, each once, with sums that are theirs."""
    check_sums(folder / "0.sqlite")
    ((count, distinct),) = content(folder / "0.sqlite", "SELECT count(*), count(DISTINCT request_id) FROM requests")
    assert count == distinct
    return int(count)


@pytest.mark.parametrize("failure", [apsw.FullError, apsw.IOError])
def test_a_disk_that_fails_is_said_and_delays_nobody(tmp_path: Path, failure: type[apsw.Error]) -> None:
    """In the log once and in the metrics; what ended meanwhile waits in memory and follows."""

    async def story() -> None:
        with faulty_disk() as disk:
            async with stage(EngineWorker(INSTANT), plan=Plan(ledger=Ledger(folder=tmp_path))) as scene:
                await answered(scene, 1)
                await until(scene, works=1, rows_total=1, waiting_rows=0)
                disk.failure = failure
                await answered(scene, 5)
                await until(scene, works=0, rows_total=1, waiting_rows=5)
                disk.failure = None
                await until(scene, works=1, rows_total=6, waiting_rows=0)
                await scene.stop()
                assert messages(scene) == [LEDGER_FAILS, LEDGER_WRITES]

    asyncio.run(story())
    assert rows(tmp_path) == 6


def test_a_lock_of_another_program_is_said_and_delays_nobody(tmp_path: Path) -> None:
    """The same, while another program changes the file and does not end."""

    async def story() -> None:
        with faulty_disk():
            async with stage(EngineWorker(INSTANT), plan=Plan(ledger=Ledger(folder=tmp_path))) as scene:
                await answered(scene, 1)
                await until(scene, works=1, rows_total=1)
                other = apsw.Connection(str(tmp_path / "0.sqlite"))
                other.execute("BEGIN IMMEDIATE")
                await answered(scene, 5)
                await until(scene, works=0, waiting_rows=5)
                other.execute("ROLLBACK")
                other.close()
                await until(scene, works=1, rows_total=6, waiting_rows=0)
                await scene.stop()
                assert messages(scene) == [LEDGER_FAILS, LEDGER_WRITES]

    asyncio.run(story())
    assert rows(tmp_path) == 6


def test_a_disk_that_hangs_delays_nobody(tmp_path: Path) -> None:
    """The writer's thread waits for it, and only that."""

    async def story() -> None:
        with faulty_disk() as disk:
            async with stage(EngineWorker(INSTANT), plan=Plan(ledger=Ledger(folder=tmp_path))) as scene:
                await answered(scene, 1)
                await until(scene, rows_total=1)
                disk.held_thread = "ledger-writer"
                disk.goes_on.clear()
                await answered(scene, 5)
                await until(scene, rows_total=1, waiting_rows=5)
                disk.goes_on.set()
                await until(scene, rows_total=6, waiting_rows=0)
                await scene.stop()

    asyncio.run(story())
    assert rows(tmp_path) == 6


def test_a_damaged_file_is_moved_aside_and_said(tmp_path: Path) -> None:
    """In the log with its place, and in the metrics."""
    (tmp_path / "0.sqlite").write_bytes(b"damage" * 4096)

    async def story() -> None:
        async with stage(EngineWorker(INSTANT), plan=Plan(ledger=Ledger(folder=tmp_path))) as scene:
            await answered(scene, 2)
            await until(scene, works=1, rows_total=2, damaged_files_total=1)
            await scene.stop()
            assert messages(scene) == [LEDGER_MOVED]

    asyncio.run(story())
    assert rows(tmp_path) == 2
    (aside,) = tmp_path.glob("0.sqlite.damaged-*")
    assert aside.read_bytes() == b"damage" * 4096
