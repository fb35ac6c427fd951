"""What a stranger meets first: workflows, forms, hooks and the links between pages are right, and name what exists."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").iterdir() if path.name != "config.yml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = re.compile(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
SCHEMAS = {
    **dict.fromkeys(WORKFLOWS, "github-workflows"),
    **dict.fromkeys(FORMS, "github-issue-forms"),
    GITHUB / "ISSUE_TEMPLATE" / "config.yml": "github-issue-config",
}
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]


def run(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def follows(schema: str, file: Path) -> bool:
    return run(str(BIN / "check-jsonschema"), "--builtin-schema", f"vendor.{schema}", str(file)).returncode == 0


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_a_file_for_the_forge_follows_its_schema(file: Path) -> None:
    """Workflows and forms by the published schemas, which check-jsonschema carries."""
    assert follows(SCHEMAS[file], file)


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [(GITHUB / "workflows" / "ci.yml", "runs-on:", "run-on:"), (FORMS[0], "type: textarea", "type: textbox")],
    ids=["workflow", "form"],
)
def test_the_schema_would_notice_a_slip(file: Path, right: str, wrong: str, tmp_path: Path) -> None:
    """The check above can fail."""
    slip = tmp_path / file.name
    slip.write_text(file.read_text().replace(right, wrong))
    assert not follows(SCHEMAS[file], slip)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned(file: Path) -> None:
    """Each action is named by its whole commit, with the release beside it; no workflow may write."""
    text = file.read_text()
    actions = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert actions
    assert all(PINNED.fullmatch(action) for action in actions)
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())


def matrix() -> dict[str, Any]:
    """The steps and Pythons of the workflow that judges changes."""
    chosen: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())["jobs"]["step"]["strategy"]
    return dict(chosen["matrix"])


def steps() -> list[str]:
    """The steps of .ci/run, in its order."""
    (line,) = re.findall(r"set -- (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    return str(line).split()


def test_the_workflow_runs_the_steps_of_ci_run() -> None:
    """Every step, and no other; each is explained in the first lines of .ci/run and is a target or a script."""
    chosen = matrix()
    assert sorted({*chosen["step"], *(each["step"] for each in chosen["include"])}) == sorted(steps())
    head = (ROOT / ".ci" / "run").read_text().partition("set -euo")[0]
    assert re.findall(r"^#   (\S+)", head, re.MULTILINE) == steps()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert all(step in targets or (ROOT / "scripts" / step).exists() for step in steps())


def test_the_workflow_runs_on_every_supported_python() -> None:
    """What the metadata promises is what the suite runs on, from the lowest that pip accepts."""
    promised = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert matrix()["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_an_unknown_step_is_reported() -> None:
    """A slip in a step's name fails with words, and runs nothing."""
    done = run("bash", ".ci/run", "tests")
    assert done.returncode == 2
    assert "no step is called tests" in done.stderr


def test_wheels_are_built_by_the_tool_that_is_tested() -> None:
    """The workflow installs the cibuildwheel that the tests ask for its plan."""
    (wanted,) = [line for line in PROJECT["optional-dependencies"]["dev"] if line.startswith("cibuildwheel")]
    assert f"'{wanted}'" in (GITHUB / "workflows" / "wheels.yml").read_text()


def test_the_hooks_are_valid(tmp_path: Path) -> None:
    """pre-commit reads its file, and would notice a slip."""
    file = ROOT / ".pre-commit-config.yaml"
    assert run(str(BIN / "pre-commit"), "validate-config", str(file)).returncode == 0
    slip = tmp_path / file.name
    slip.write_text(file.read_text().replace("language:", "tongue:"))
    assert run(str(BIN / "pre-commit"), "validate-config", str(slip)).returncode == 1


def test_each_dependency_has_a_lowest_release() -> None:
    """`make test-lowest` knows what to install for whatever the package and its portable extras need."""
    extras = [line for name in ("bench", "gpu") for line in PROJECT["optional-dependencies"][name]]
    for line in [*PROJECT["dependencies"], *extras]:
        assert re.fullmatch(r"[\w.-]+>=[\w.]+(,<\d+)?", line), line


def anchors(page: Path) -> set[str]:
    """The fragments that a forge gives the headings of `page`."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link between pages names a file that exists and, behind `#`, one of its headings."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not fragment or fragment in anchors(file), f"{page.name}: {target}"


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "SECURITY.md", "docs/compatibility.md", "docs/decisions/folders.md"]
)
def test_places_that_a_page_names_exist(page: str) -> None:
    """Who is sent to a folder, a file or a pattern of files finds it."""
    places = r"`((?:gateway|backend|evaluation|tests|docs|deploy|scripts|\.github)/[\w./*-]*)`"
    named = re.findall(places, (ROOT / page).read_text("utf-8"))
    assert [place for place in named if not any(ROOT.glob(place.rstrip("/")))] == []
