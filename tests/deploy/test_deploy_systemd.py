"""The systemd units: known keys, commands that exist where the units say, hardening with a stated exposure."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ("vtc-gateway.service", "vllm@8001.service", "vllm.target")
# Exposure by systemd-analyze, 0 (nothing) to 10 (everything): what the unit may reach beyond its task, times ten.
EXPOSURE = {"vtc-gateway.service": 12, "vllm@8001.service": 19}
PROGRAMS = ("opt/vtc-gateway/bin/vtc-gateway", "opt/vllm/bin/python", "bin/kill", "bin/sh")
TARGETS = ("sysinit", "basic", "shutdown", "network-online", "multi-user")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with the units, the programs that they start and systemd's own targets."""
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(SYSTEMD / unit.replace("@8001", "@"), units / unit)
    for target in TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDescription=as on any machine\nDefaultDependencies=no\n")
    for program in PROGRAMS:
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The output of systemd-analyze."""
    path = shutil.which("systemd-analyze")
    assert path is not None, "systemd-analyze is missing: run scripts/install-system (Debian package systemd)"
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=False)


def test_systemd_has_nothing_to_say_about_the_units(root: Path) -> None:
    """No unknown key, no value that cannot be read, no command that is missing."""
    done = analyze("verify", "--man=no", f"--root={root}", *UNITS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("NoNewPrivileges=", "NoNewPriviliges=", "Unknown key"),
        ("TimeoutStopSec=40", "TimeoutStopSec=forty", "Failed to parse"),
        ("ExecStart=/opt/vtc-gateway", "ExecStart=/opt/elsewhere", "not executable"),
    ],
)
def test_systemd_would_notice_a_mistake(root: Path, right: str, wrong: str, complaint: str) -> None:
    """The check above can fail: a misspelt key, a wrong value, a wrong path."""
    unit = root / "etc" / "systemd" / "system" / "vtc-gateway.service"
    assert right in unit.read_text()
    unit.write_text(unit.read_text().replace(right, wrong, 1))
    assert complaint in analyze("verify", "--man=no", f"--root={root}", unit.name).stderr


def test_systemd_accepts_the_gateway_with_several_processes(root: Path) -> None:
    """The drop-in is one of the gateway's unit, and each of its keys is known; a misspelt one would be noticed."""
    unit = root / "etc" / "systemd" / "system" / "vtc-gateway.service"
    drop_in = unit.with_name("vtc-gateway.service.d") / "processes.conf"
    drop_in.parent.mkdir()
    shutil.copy(SYSTEMD / "processes.conf", drop_in)
    assert drop_in.read_text().startswith(f"# /{drop_in.relative_to(root)}: ")
    done = analyze("verify", "--man=no", f"--root={root}", unit.name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    drop_in.write_text(drop_in.read_text().replace("RuntimeDirectory=", "RuntimeDir="))
    assert "Unknown key" in analyze("verify", "--man=no", f"--root={root}", unit.name).stderr


@pytest.mark.parametrize("unit", EXPOSURE)
def test_the_exposure_is_as_stated(root: Path, unit: str) -> None:
    """systemd's own measure of a unit is at most what deploy/README.md says; without its hardening it is more."""
    security = ("security", "--offline=true", "--no-pager", f"--root={root}", f"--threshold={EXPOSURE[unit]}", unit)
    assert analyze(*security).returncode == 0
    file = root / "etc" / "systemd" / "system" / unit
    file.write_text(re.sub(r"^Protect\w+=.*\n", "", file.read_text(), flags=re.MULTILINE))
    assert analyze(*security).returncode == 1
    readme = " ".join((SYSTEMD.parent / "README.md").read_text().split())
    assert f"{EXPOSURE[unit] / 10:.1f} for `{unit.replace('@8001', '@')}`" in readme


def test_the_stop_waits_longer_than_the_drain() -> None:
    """systemd kills only what the gateway's own drain has had time to end."""
    text = (SYSTEMD / "vtc-gateway.service").read_text()
    assert re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE) == ["40"]


@pytest.mark.parametrize(
    ("tool", "file"), [("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")], ids=lambda word: word
)
def test_users_and_folders_can_be_created(root: Path, tool: str, file: str) -> None:
    """Both files are read whole and do what they say to an empty machine."""
    folder = root / "usr" / "lib" / f"{file}.d"
    folder.mkdir(parents=True)
    shutil.copy(SYSTEMD / f"vtc-gateway.{file}.conf", folder / "vtc-gateway.conf")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nvtc-gateway:x:901:901::/:/bin/false\n")
    (root / "etc" / "group").write_text("root:x:0:\nvtc-gateway:x:901:\n")
    path = shutil.which(tool)
    assert path is not None, f"{tool} is missing: run scripts/install-system (Debian package systemd)"
    create = ["--create"] if tool == "systemd-tmpfiles" else []
    done = subprocess.run([path, *create, f"--root={root}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if tool == "systemd-tmpfiles":
        assert (root / "etc" / "vtc-gateway").stat().st_mode & 0o777 == 0o750
    else:
        assert "vllm:" in (root / "etc" / "passwd").read_text()
