"""scripts/gpu-check from its first line to its last, where an embedded engine plays vLLM and nobody has a GPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUCK_SECONDS = 120.0

STUBS = {
    "bin/make": "exit 0\n",
    "bin/nvidia-smi": 'echo "$@" >asked-smi; echo "NVIDIA Rehearsal 80GB, 999.1, 81559 MiB"\n',
    # `vllm` is played by the embedded engine, everything else is the real command.
    ".venv/bin/vtc-backend": """\
case $1 in
  vllm)
    echo "$CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER $@" >vllm-arguments
    exec {python} -m backend embedded --max-num-seqs 1 ;;
  *) exec {python} -m backend "$@" ;;
esac
""",
    ".venv/bin/vtc-gateway": 'echo "the report of $2"; echo "$@" >>bench-arguments; test "$2" = fairness\n',
    ".venv/bin/python": 'exec {python} "$@"\n',
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout with the script, the page and stubs for what only a GPU machine has."""
    for name in ("scripts/gpu-check", "docs/gpu.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name, text in STUBS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + text.format(python=sys.executable))
        path.chmod(0o755)
    return tmp_path


def check(machine: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the script there, with the least engine that can be measured and `more` variables."""
    variables = {"MAX_NUM_SEQS": "1", "SECONDS_EACH": "2", "VTC_VLLM_PYTHON": "python3"}
    paths = {"PATH": f"{machine / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(machine / "scripts" / "gpu-check")],
        env=os.environ | variables | paths | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=STUCK_SECONDS,
    )


def test_it_measures_benches_and_writes_the_page(machine: Path) -> None:
    """The page keeps its text and gets the machine, the profile and both reports; a missed target is no end."""
    done = check(machine)
    assert done.returncode == 0, done.stderr
    assert "bench isolation missed a target" in done.stderr
    before, after = (ROOT / "docs" / "gpu.md").read_text(), (machine / "docs" / "gpu.md").read_text()
    head, _, results = after.partition("\n## Results\n")
    assert head == before.partition("\n## Results\n")[0]
    assert "No run on a GPU" in before and "No run on a GPU" not in results
    assert results.strip().startswith("NVIDIA Rehearsal 80GB, 999.1, 81559 MiB, 20")
    assert "the report of fairness" in results and "the report of isolation" in results
    profile = json.loads((machine / "results" / "gpu" / "profile.json").read_text())
    assert (machine / "results" / "gpu" / "profile.json").read_text() in results
    assert profile["description"] == "tiny on one NVIDIA Rehearsal 80GB."
    assert profile["capacity"]["max_num_batched_tokens"] == 8192
    assert (machine / "vllm-arguments").read_text().split()[-2:] == ["--max-num-batched-tokens", "8192"]
    assert all("--engine vllm --seconds 2" in line for line in (machine / "bench-arguments").read_text().splitlines())

    assert (machine / "vllm-arguments").read_text().startswith("0 PCI_BUS_ID vllm ")


def test_of_several_gpus_the_one_that_is_named_is_measured(machine: Path) -> None:
    """It runs on the GPU whose name it writes down, and on no other."""
    done = check(machine, CUDA_VISIBLE_DEVICES="GPU-5d2f,1")
    assert done.returncode == 0, done.stderr
    assert (machine / "asked-smi").read_text().startswith("-i GPU-5d2f --query-gpu=name")
    assert (machine / "vllm-arguments").read_text().startswith("GPU-5d2f PCI_BUS_ID vllm ")


@pytest.mark.parametrize("answer", ["exit 9", "echo No devices were found; exit 6"])
def test_without_a_gpu_it_says_so_and_changes_nothing(machine: Path, answer: str) -> None:
    """Exit status 1 before anything is installed; what nvidia-smi says of it is not taken for a GPU's name."""
    (machine / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\n{answer}\n")
    done = check(machine)
    assert (done.returncode, done.stderr) == (1, "gpu-check: no NVIDIA GPU here: nvidia-smi finds none\n")
    assert (machine / "docs" / "gpu.md").read_text() == (ROOT / "docs" / "gpu.md").read_text()
