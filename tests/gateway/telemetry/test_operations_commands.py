"""The commands of docs/operations.md that read `/debug/state` answer for one process and for several."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts import BudgetsSnapshot
from gateway.config import Config, Pool, Replicas, Worker
from gateway.ledger.snapshot import FollowerSnapshot, LedgerSnapshot
from gateway.long_work import at_once
from gateway.processes.merging import merged_state
from gateway.telemetry.state import GatewayIdentity, state_dump
from gateway.watch.supervisor import LaunchStatus
from gateway.webhook import WebhookSnapshot

DOCUMENT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
(WITHOUT_PROCESSES,) = re.findall(r"^STATE\(\) \{ curl .* \| jq '([^']*)'; \}$", DOCUMENT, re.MULTILINE)
COMMANDS = re.findall(r"STATE \| jq (?:'([^']*)'|(\.[\w.]+))", DOCUMENT)
FILTERS = [quoted or plain for quoted, plain in COMMANDS]


def jq(program: str, documents: Sequence[Any]) -> list[Any]:
    """What `jq PROGRAM` prints for `documents`."""
    tool = shutil.which("jq")
    assert tool is not None, "jq is missing: run scripts/install-system"
    given = "".join(json.dumps(each) for each in documents)
    result = subprocess.run([tool, "-c", program], input=given, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def dump(state, pool, worker, request_view, replicas) -> Any:
    """A gateway's whole state, with something in each of its lists."""
    state.pool_views, state.worker_views = [pool()], [worker()]
    state.sharing = replicas(failure="no answer")
    state.keeping = LedgerSnapshot("the disk is full", 10, 2, 0, 0, 0, FollowerSnapshot("no answer", 8, 2, 1, 0))
    state.spending = BudgetsSnapshot((), is_read=False, excesses=1)
    state.telling = WebhookSnapshot("nobody listens", 1, 0, 3, 0)
    fleet = Replicas(store="redis://store:6379")
    config = Config(
        pools=(Pool(model="tiny", engine_model="byte", workers=(Worker(name="w0", url="http://w0"),)),), replicas=fleet
    )
    identity = GatewayIdentity("1", 1.0, 2.0, is_draining=False)
    whole = at_once(state_dump(state, [request_view(worker="w0")], config, identity))
    return json.loads(json.dumps(whole | {"launched": [asdict(LaunchStatus("w0", "ready"))]}))


def test_every_command_was_found() -> None:
    """Each `STATE |` of the page is read by this test; with none the others would hold for nothing."""
    assert len(FILTERS) == DOCUMENT.count("STATE |") >= 5


@pytest.mark.parametrize("program", FILTERS)
def test_a_command_answers_for_one_process_and_for_each_of_several(program: str, dump: Any) -> None:
    """It shows something, no field that is not there, and for two processes the same twice; a silent third is left out.

    Other commands of the page are these with another field, so `STATE` alone must do the work.
    """
    shown = jq(program, jq(WITHOUT_PROCESSES, [dump]))
    assert shown and None not in shown and [] not in shown
    if "{" in program:
        assert all(None not in each.values() for each in shown)
    several = merged_state({"1": dump, "2": dump, "3": None})
    assert jq(program, jq(WITHOUT_PROCESSES, [several])) == shown * 2
