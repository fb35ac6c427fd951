"""Reports, erasure and copies of the files of a folder, while a process writes them."""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import apsw
import pytest

from gateway.ledger import folder, schema
from gateway.ledger.faults import LedgerFault
from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.quarters import merged
from gateway.ledger.report import FIELDS, Line, Period, Query, Subject, lines
from gateway.ledger.rows import QUARTER_US, Grant, Noted, orphan_of

from .books import NOON, content, open_request, row

QUARTER = int(NOON * 1e6) // QUARTER_US
ALL = Query(QUARTER, QUARTER + 100, UTC)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[LedgerFile, LedgerFile]]:
    first, second = (LedgerFile(tmp_path / name) for name in ("8000-1.sqlite", "8000-2.sqlite"))
    first.write(1, Batch([row("r1"), row("r2", tenant="bob", end_user="fedcba9876543210")]))
    note = orphan_of(Noted(open_request("r9"), Grant(NOON, None), NOON))
    second.write(1, Batch([row("r3", granted=NOON + 900, model="alias"), row("r4", granted=NOON - 1)], [note]))
    yield first, second
    first.drop()
    second.drop()


def figures(line: Line, *names: str) -> dict[str, float]:
    sums = dict(zip(FIELDS, line.sums, strict=True))
    return {name: sums[name] for name in names}


@pytest.mark.parametrize("extra", [(), (Subject.OUTCOME,)], ids=["by quarters", "by rows"])
def test_a_report_covers_all_files(tmp_path: Path, files: object, extra: tuple[Subject, ...]) -> None:
    """Sums by quarter hour and rows say the same; what was granted before the time is not in it."""
    query = ALL._replace(subjects=(Subject.TENANT, *extra))
    alice, bob = lines(query, LedgerFolder(tmp_path).parts(query))
    assert (alice.names[0], bob.names[0]) == ("alice", "bob")
    assert figures(alice, "requests", "prompt_tokens", "worker_us") == {
        "requests": 2,
        "prompt_tokens": 200,
        "worker_us": 1_500_000,
    }
    assert figures(bob, "requests", "output_tokens", "cost") == {"requests": 1, "output_tokens": 50, "cost": 200.0}


@pytest.mark.parametrize("period", [Period.ALL, Period.HOUR])
def test_slices_of_rows_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, period: Period) -> None:
    """However the rows of a file are divided, and although what few rows have is added up apart."""
    monkeypatch.setattr(folder, "_ROWS_SORTED_AT_ONCE", 3)
    written = [
        row(
            f"r{number}",
            granted=NOON + number * 500,
            end_user=f"{number % 3:016x}",
            output_tokens=number,
            **({"estimated_tokens": 1, "lost_output_tokens": number} if number % 4 == 1 else {}),
        )
        for number in range(20)
    ]
    file = LedgerFile(tmp_path / "8000.sqlite")
    file.write(1, Batch(written))
    file.drop()
    query = ALL._replace(subjects=(Subject.END_USER,), period=period)
    found = lines(query, LedgerFolder(tmp_path).parts(query))
    totals = merged(each._replace(tenant=each.end_user, key="", pool="", model="") for each in written)
    expected = lines(query, ((quarter, (user,), sums) for (quarter, user, *_), sums in totals.items()))
    assert found == expected
    assert sum(figures(line, "lost_output_tokens")["lost_output_tokens"] for line in found) == 1 + 5 + 9 + 13 + 17


def test_a_report_by_end_user_and_period(tmp_path: Path, files: object) -> None:
    """From the rows, by the quarter of the grant."""
    query = ALL._replace(subjects=(Subject.END_USER, Subject.MODEL), period=Period.DAY)
    found = lines(query, LedgerFolder(tmp_path).parts(query))
    assert [(line.period, *line.names) for line in found] == [
        ("2026-05-28", "0123456789abcdef", "alias"),
        ("2026-05-28", "0123456789abcdef", "tiny"),
        ("2026-05-28", "fedcba9876543210", "tiny"),
    ]


def test_a_forgotten_end_user_is_nowhere(tmp_path: Path, files: object) -> None:
    """In no row, open or ended, and in no byte of any file; the sums stay."""
    folder = LedgerFolder(tmp_path)
    assert folder.forget("0123456789abcdef") == 3
    assert [count for file in folder.files for (count,) in content(file, "SELECT count(*) FROM requests")] == [2, 2]
    for part in tmp_path.iterdir():
        assert b"0123456789abcdef" not in part.read_bytes(), part
    assert folder.forget("0123456789abcdef") == 0
    assert len(lines(ALL, folder.parts(ALL))) == 2


def test_a_copy_can_take_the_place_of_the_ledger(tmp_path: Path, files: tuple[LedgerFile, LedgerFile]) -> None:
    """Copied while it is written, restored by putting the copies in its place; the gateway writes on."""
    copies = LedgerFolder(tmp_path).back_up(tmp_path / "copy")
    files[0].write(2, Batch([row("after the copy")]))
    assert [copy.name for copy in copies] == ["8000-1.sqlite", "8000-2.sqlite"]
    query = ALL._replace(subjects=(Subject.TENANT, Subject.MODEL))
    assert sum(line.sums[0] for line in lines(query, LedgerFolder(tmp_path / "copy").parts(query))) == 3
    restored = LedgerFile(copies[0])
    restored.write(restored.last_batch() + 1, Batch([row("after the restoration")]))
    assert content(copies[0], "SELECT count(*) FROM requests") == [(3,)]
    restored.close()
    with pytest.raises(LedgerFault):
        LedgerFolder(tmp_path).back_up(tmp_path / "copy")


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A folder without a ledger, a file that is none, tables of another version."""
    with pytest.raises(LedgerFault, match="has no ledger"):
        LedgerFolder(tmp_path)
    file = tmp_path / "8000.sqlite"
    file.write_bytes(b"none" * 2048)
    with pytest.raises(LedgerFault, match="damaged"):
        list(LedgerFolder(tmp_path).parts(ALL))
    file.unlink()
    LedgerFile(file).close()
    connection = apsw.Connection(str(file))
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(LedgerFault, match="version"):
        list(LedgerFolder(tmp_path).parts(ALL))


def test_a_file_that_no_gateway_brings_up_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was put beside the present one, of an earlier version."""
    LedgerFile(tmp_path / "earlier.sqlite").close()
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    assert list(LedgerFolder(tmp_path).parts(ALL)) == []
