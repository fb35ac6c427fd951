"""The Dockerfiles and the compose file: linted, complete, and a start command that does what it says."""

import json
import os
import re
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
BIN = Path(sys.executable).parent
STUCK_SECONDS = 120.0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    """Best practice by hadolint and, within RUN, by shellcheck."""
    done = run(str(BIN / "hadolint"), str(file))
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    """The check above can fail: a tag that moves, and a last user who is root."""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python:latest\nUSER root\n")
    assert {"DL3007", "DL3002"} <= set(re.findall(r"DL\d+", run(str(BIN / "hadolint"), str(wrong)).stdout))


def test_the_compose_file_follows_its_schema() -> None:
    """The schema of the compose specification, as check-jsonschema carries it."""
    compose = "deploy/compose/compose.yaml"
    done = run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", compose)
    assert done.returncode == 0, done.stdout


def test_the_schema_would_notice_a_misspelt_key(tmp_path: Path) -> None:
    """The check above can fail."""
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(
        (ROOT / "deploy" / "compose" / "compose.yaml").read_text().replace("stop_grace_period", "stop_grace")
    )
    assert run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(wrong)).returncode == 1


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_is_copied_exists_and_reaches_the_build(file: Path) -> None:
    """Each source of a COPY is in the repository and let through by .dockerignore."""
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    sources = [
        source
        for line in re.findall(r"^COPY (.*)$", file.read_text(), re.MULTILINE)
        if "--from=" not in line
        for source in [word for word in line.split() if not word.startswith("--")][:-1]
    ]
    assert len(sources) >= 6
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in allowed), source


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_the_image_is_not_roots(file: Path) -> None:
    """The last USER is a number above zero, so that Kubernetes can tell; the start command is in exec form."""
    text = file.read_text()
    assert re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)[-1] == "10001"
    for instruction in ("ENTRYPOINT", "CMD", "HEALTHCHECK .*\\\\\n  CMD"):
        for words in re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE):
            assert isinstance(json.loads(words), list)


ENGINE = """#!/bin/sh
# In the place of `vtc-backend vllm`: writes down its arguments, then serves as the embedded engine.
printf '%s\\n' "$@" > arguments
test "$3" = /no/model && exit 1
echo $$ > engine.pid
exec {python} -m backend embedded --profile instant --model folder
"""
GATEWAY = '#!/bin/sh\nexec {python} -m gateway "$@" --announce\n'
CONFIG = """\
pools: [{model: folder, workers: [{url: "${VTC_VLLM_URL}", name: vllm}]}]
tenants: [{name: alice}]
listen: {port: 0}
"""


class Start:
    """`start-with-vllm` as the image runs it, with an embedded engine in vLLM's place."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        (folder / "config.yaml").write_text(CONFIG)
        for name, script in (("vtc-backend", ENGINE), ("vtc-gateway", GATEWAY)):
            path = folder / name
            path.write_text(script.format(python=sys.executable))
            path.chmod(0o755)
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [str(DOCKER / "start-with-vllm"), *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_ready(self) -> None:
        """Return when the gateway serves."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("ready http://")

    def engine_pid(self) -> int:
        """The engine's process."""
        return int((self.folder / "engine.pid").read_text())

    def ended(self) -> tuple[int, str]:
        """Exit status and what was said, once nothing holds the pipes: gateway and engine have ended too."""
        _, errors = self.process.communicate(timeout=STUCK_SECONDS)
        return self.process.returncode, errors


def test_the_start_command_serves_and_ends_when_told(tmp_path: Path) -> None:
    """The gateway serves once the engine is ready; vLLM's arguments reach it; SIGTERM ends both with status 0."""
    start = Start(tmp_path, "/models/llama", "--max-num-seqs", "4")
    start.until_ready()
    words = (tmp_path / "arguments").read_text().split()
    assert words == ["vllm", "--model", "/models/llama", "--start-seconds", "1800", "--", "--max-num-seqs", "4"]
    start.process.send_signal(signal.SIGTERM)
    status, _ = start.ended()
    assert status == 0


def test_the_container_ends_with_its_engine(tmp_path: Path) -> None:
    """A vLLM that dies ends the container with status 1, so that it is started again."""
    start = Start(tmp_path, "/models/llama")
    start.until_ready()
    os.kill(start.engine_pid(), signal.SIGKILL)
    status, errors = start.ended()
    assert status == 1
    assert "start-with-vllm: vLLM ended" in errors


def test_an_engine_that_does_not_start_is_told(tmp_path: Path) -> None:
    """Without a model, or without an argument, the end comes at once and says why."""
    assert Start(tmp_path, "/no/model").ended() == (1, "start-with-vllm: vLLM did not start\n")
    status, errors = Start(tmp_path).ended()
    assert (status, errors.startswith("usage: start-with-vllm MODEL_FOLDER")) == (2, True)
