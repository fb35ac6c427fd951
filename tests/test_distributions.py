"""What is built of the repository: a source distribution that builds, and a wheel with all three packages."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from backend.vllm.pythonpath.vtc_engine_order.release import TESTED_RELEASES
from gateway import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("backend", "evaluation", "gateway")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def package_files(root: Path) -> set[str]:
    """Every file of the three packages that is not made by Python itself."""
    return {
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".so"}
    }


def build(kind: str, sources: Path, folder: Path) -> Path:
    """What setuptools builds of `sources`, without the network."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=sources, check=True, capture_output=True, text=True)
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for package in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / package, folder / "clone" / package, ignore=ignored)
    for file in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / file, folder / "clone")
    with tarfile.open(build("sdist", folder / "clone", folder)) as archive:
        archive.extractall(folder, filter="data")
    yield folder / f"vtc_gateway-{__version__}"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> ZipFile:
    """The wheel that is built of the source distribution."""
    return ZipFile(build("wheel", sdist, sdist.parent))


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    """What the wheel says of itself."""
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def test_the_source_distribution_has_what_it_takes_to_build(sdist: Path) -> None:
    """All files of the packages, the licence and the README; no tests, which need the repository."""
    assert package_files(sdist) == package_files(ROOT)
    assert {"LICENSE", "README.md", "CHANGELOG.md", "setup.py", "pyproject.toml"} <= {
        path.name for path in sdist.iterdir()
    }
    assert not (sdist / "tests").exists()


def test_the_wheel_has_every_file_of_the_packages(wheel: ZipFile) -> None:
    """Modules, profiles, workloads and the marker of annotated packages come along; nothing else does."""
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == package_files(ROOT)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_the_version_has_one_source(metadata: Message) -> None:
    """The distribution's version is the package's, written once in gateway/__init__.py."""
    assert metadata["Version"] == __version__
    assert "version" not in PROJECT["project"]


def test_deployments_name_the_version() -> None:
    """Every tag of our own images under deploy/ is this version."""
    texts = [path.read_text() for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    tags = [tag for text in texts for tag in re.findall(r"\bvtc-gateway(?:-vllm)?(?::|, newTag: )(\d[\w.]*)", text)]
    assert len(tags) >= 8
    assert set(tags) == {__version__}


def test_the_metadata_is_complete(metadata: Message) -> None:
    """What an index shows and sorts by is there: words, licence, authors, Pythons, the README."""
    for field in ("Summary", "Keywords", "License-Expression", "Author", "Project-URL", "Requires-Python"):
        assert metadata[field], field
    assert metadata["License-File"] == "LICENSE"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    classifiers = metadata.get_all("Classifier", [])
    pythons = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    assert tuple(pythons) == PYTHONS
    assert "Typing :: Typed" in classifiers


def test_an_extra_holds_what_a_serving_gateway_does_without(metadata: Message) -> None:
    """Pictures, NVML, engines and tools are extras; `plots` is another name of `bench`."""
    assert metadata.get_all("Provides-Extra") == ["bench", "plots", "gpu", "vllm", "dev"]
    extras = PROJECT["project"]["optional-dependencies"]
    assert extras["plots"] == ["vtc-gateway[bench]"]
    plain = {_name(line) for line in PROJECT["project"]["dependencies"]}
    assert not plain & {_name(line) for name in ("bench", "gpu", "vllm") for line in extras[name]}


def _name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match
    return match[0].lower()


def test_compiled_wheels_are_made_for_every_python() -> None:
    """cibuildwheel reads its table, and builds for each supported Python on both kinds of machine, with glibc."""
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", "linux"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    wanted = {f"cp{python.replace('.', '')}-manylinux_{arch}" for python in PYTHONS for arch in ("x86_64", "aarch64")}
    assert set(done.stdout.split()) == wanted


def test_one_release_of_vllm_is_the_tested_one() -> None:
    """The installation that the tests use, the extra, the images and the engine's order name the same release."""
    script = (ROOT / "scripts" / "install-vllm").read_text()
    (vllm,) = re.findall(r"^readonly VLLM_VERSION=(.+)$", script, re.MULTILINE)
    (torch,) = re.findall(r"^readonly TORCH_VERSION=(.+)$", script, re.MULTILINE)
    minor = [version.rpartition(".")[0] for version in (vllm, torch)]
    assert PROJECT["project"]["optional-dependencies"]["vllm"] == [f"vllm=={minor[0]}.*", f"torch=={minor[1]}.*"]
    assert (minor[0],) == TESTED_RELEASES
    texts = [path.read_text() for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    assert {tag for text in texts for tag in re.findall(r"vllm/vllm-openai:v([\d.]+)", text)} == {vllm}
