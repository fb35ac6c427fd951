"""The fair schedulers inside the installed vLLM, the one for processors and the one for GPUs, without a model."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from vllm_servers import ROOT

from backend.vllm.engine_order import EngineOrder, order_environment
from backend.vllm.launch import find_python
from backend.vllm.models import write_byte_llama
from backend.vllm.pythonpath.vtc_engine_order.fair_queue import UNITS_PER_COST

DRIVE_SECONDS = 240
KINDS = {"sync": "FairScheduler", "async": "FairAsyncScheduler"}
# As the script asks: 10 tokens of prompt, 60 generated.
COST = 10 + 2 * 60
FLOOD, MODEST, SEQUENCES = 30, 6, 4


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the schedulers did."""
    folder = tmp_path_factory.mktemp("model") / "byte-llama"
    write_byte_llama(folder)
    script = Path(__file__).with_name("drive_schedulers.py")
    command = [str(find_python(None, os.environ)), str(script), str(folder)]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment = os.environ | quiet | order_environment(EngineOrder.VTC, os.environ)
    done = subprocess.run(command, check=False, capture_output=True, timeout=DRIVE_SECONDS, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_tenants_that_wait_are_served_alike(driven: Any, kind: str) -> None:
    """Of a flood no more end before the last of a few than as many, and those that ran already; all are charged."""
    share = driven["share"][kind]
    assert share["kind"] == KINDS[kind]
    assert MODEST - SEQUENCES <= share["before_the_last_modest"] <= MODEST + SEQUENCES
    assert share["finished"] == FLOOD + MODEST
    assert share["counters"]["flood"] == FLOOD * COST * UNITS_PER_COST
    assert share["counters"]["modest"] >= MODEST * COST * UNITS_PER_COST
    assert share["claims_left"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_preempted_request_pays_once(driven: Any, kind: str) -> None:
    """What is computed again for want of memory is not charged again; a weight divides every charge."""
    preempt = driven["preempt"][kind]
    assert preempt["finished"] == 12
    assert preempt["preemptions"] > 0
    assert preempt["counters"] == {
        "flood": 6 * COST * UNITS_PER_COST,
        "modest": 6 * COST * UNITS_PER_COST // 2,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_aborted_request_leaves_nothing(driven: Any, kind: str) -> None:
    """Waiting or running, of a tenant or of none, with a weight that makes no sense."""
    assert driven["abort"][kind] == {"finished": ["-0", "flood-19"], "claims_left": 0, "waiting": 0}


def test_a_vllm_that_differs_is_refused_with_a_reason(driven: Any) -> None:
    """A new duty of its queues, a method that takes something else: said at the start, not found out by a request."""
    queue, scheduler = driven["refusals"]
    assert "steal_request" in queue
    assert "Renamed._free_request" in scheduler
    assert all("use engine_order fcfs" in said for said in driven["refusals"])
