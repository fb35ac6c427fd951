"""The installed vLLM knows every argument that a launched worker gets or may not get."""

import json
import os
import subprocess
from pathlib import Path

from vllm_servers import ROOT

from backend.supervisor.machine import vllm_arguments
from backend.supervisor.plan import WorkerPlan
from backend.vllm.launch import find_python
from gateway.config.launch import REFUSED

DUMP_SECONDS = 120
ON_GPUS = {"--tensor-parallel-size", "--gpu-memory-utilization"}


def test_no_argument_is_unknown_to_vllm() -> None:
    """A renamed option would end every launched worker at its start, or let a refused one pass."""
    script = Path(__file__).with_name("dump_arguments.py")
    command = [str(find_python(None, os.environ)), str(script)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=DUMP_SECONDS, cwd=ROOT)
    options = set(json.loads(done.stdout))
    ours = {argument for argument in vllm_arguments(WorkerPlan("w")) if argument.startswith("--")}
    assert sorted((ours | ON_GPUS | set(REFUSED)) - options) == []
