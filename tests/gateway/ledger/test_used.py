"""What the ledger says was used of a period: what ended, and what ran when its gateway was killed."""

from pathlib import Path

from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.rows import QUARTER_US, Grant, Noted, orphan_of

from .books import NOON, PRICES, open_request, row

QUARTER = int(NOON * 1e6) // QUARTER_US


def test_open_requests_count_with_what_they_had_used(tmp_path: Path) -> None:
    """The sums are the same before the orphans are closed, in another process's eyes, and after that."""
    path = tmp_path / "8000.sqlite"
    file = LedgerFile(path)
    other = row("r2", tenant="bob", key_id="other", end_user="", prompt_tokens=3, output_tokens=4, service=11.0)
    noted = orphan_of(Noted(open_request("r3"), Grant(NOON, PRICES), NOON + 1))
    file.write(1, Batch([row("r1"), other], [noted]))
    folder = LedgerFolder(tmp_path)
    expected = [
        ("alice", "main", 100 + 50 + 100 + 7, 200.0 + 114.0, row("r1").money_nano + noted.money_nano),
        ("bob", "other", 7, 11.0, other.money_nano),
    ]
    assert [line[1:] for line in folder.used(QUARTER, by_end_user=False)] == expected
    assert [line[1:] for line in folder.used(QUARTER, by_end_user=True)] == [
        ("alice", "0123456789abcdef", *expected[0][2:])
    ]
    file.drop()
    LedgerFile(path).close()
    assert [line[1:] for line in folder.used(QUARTER, by_end_user=False)] == expected
    assert [line[1:] for line in folder.used(QUARTER, by_end_user=True)] == [
        ("alice", "0123456789abcdef", *expected[0][2:])
    ]


def test_earlier_periods_do_not_count(tmp_path: Path) -> None:
    """A request belongs to the quarter hour of its grant."""
    file = LedgerFile(tmp_path / "8000.sqlite")
    file.write(1, Batch([row("r1", granted=NOON - 1), row("r2")]))
    assert [line[3] for line in LedgerFolder(tmp_path).used(QUARTER, by_end_user=False)] == [150]
    assert [line[3] for line in LedgerFolder(tmp_path).used(QUARTER - 1, by_end_user=False)] == [300]
    file.close()


def test_writers_have_names_that_no_other_folder_has(tmp_path: Path) -> None:
    """The name of a file stays, whoever asks and how often."""
    names = []
    for place in ("a", "b"):
        for stem in ("8000", "8001"):
            (tmp_path / place).mkdir(exist_ok=True)
            LedgerFile(tmp_path / place / f"{stem}.sqlite").close()
        folder = LedgerFolder(tmp_path / place)
        assert folder.writers() == LedgerFolder(tmp_path / place).writers()
        names += folder.writers().values()
    assert len(set(names)) == 4
