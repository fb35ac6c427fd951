"""The Dockerfiles and the compose file are linted and complete. scripts/try-container runs what they start."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
BIN = Path(sys.executable).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    """hadolint finds no fault of practice, and shellcheck none inside RUN."""
    done = run(str(BIN / "hadolint"), str(file))
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    """The check above can fail: a tag that moves, and a last user who is root."""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python:latest\nUSER root\n")
    assert {"DL3007", "DL3002"} <= set(re.findall(r"DL\d+", run(str(BIN / "hadolint"), str(wrong)).stdout))


@pytest.mark.parametrize("name", ["compose.yaml", "replicas.yaml"])
def test_the_compose_files_follow_their_schema(name: str) -> None:
    """check-jsonschema carries the schema of the compose specification."""
    done = run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", f"deploy/compose/{name}")
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
    """The last USER is a number above zero, so that Kubernetes can tell."""
    assert re.findall(r"^USER (\d+):\d+$", file.read_text(), re.MULTILINE)[-1] == "10001"


def test_both_images_start_the_gateway_in_the_same_way() -> None:
    """In exec form, so that SIGTERM reaches the gateway, with the health check of the one that is tried out."""
    starts = []
    for file in DOCKERFILES:
        text = file.read_text().replace("\\\n", "")
        forms = (r"^ENTRYPOINT (.*)$", r"^CMD (.*)$", r"^HEALTHCHECK .*? CMD (.*)$")
        starts.append([json.loads(words) for form in forms for words in re.findall(form, text, re.MULTILINE)])
    assert starts[0] == starts[1]
    assert [len(start) for start in starts] == [3, 3]
