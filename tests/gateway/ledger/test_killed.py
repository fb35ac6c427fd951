"""The ledger of a process that is killed with SIGKILL under load: what was committed is there, and nothing twice.

`make test-ledger` kills 200 of them.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from gateway.ledger.file import LedgerFile

from .books import check_sums, content, ids

KILLS = int(os.environ.get("LEDGER_KILLS", "3"))
ROOT = Path(__file__).parents[3]


def acknowledged(path: Path, commits: int) -> int:
    """Load the file until so many commits were seen, and kill the process; returns the rows that it called written."""
    command = [sys.executable, str(Path(__file__).with_name("loaded.py")), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(commits)]
        assert all(lines), "the program ended by itself"
        child.kill()
        lines += child.stdout.read().splitlines(keepends=True)
    return int([line for line in lines if line.endswith(b"\n")][-1])


@pytest.mark.parametrize("seed", range(KILLS))
def test_what_was_committed_is_there_once(tmp_path: Path, seed: int) -> None:
    """Two lives of one file: rows in the order of their ends without a gap, sums that equal them, orphans closed."""
    path, random = tmp_path / "8000.sqlite", Random(seed)
    for life in range(2):
        before = len(content(path, "SELECT id FROM requests")) if life else 0
        rows = acknowledged(path, random.randrange(1, 12))
        file = LedgerFile(path)
        assert (file.was_clean, file.orphans) == (False, 3)
        file.close()
        found = ids(path)[before:]
        ended = [name for name in found if not name.startswith("long")]
        assert len(ended) >= rows
        assert ended == [str(number) for number in range(len(ended))]
        assert sorted(name for name in found if name.startswith("long")) == ["long 0", "long 1", "long 2"]
        check_sums(path)
        assert content(path, "PRAGMA quick_check") == [("ok",)]
