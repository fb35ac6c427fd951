"""What `auto` means, how long the pauses are, whose directory it is, and how long a kept program lives."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import Config, Replicas
from gateway.processes import Member, guard, member_of
from gateway.processes.cores import usable_cores
from gateway.processes.directory import DirectoryFault, RuntimeDirectory, runtime_directory
from gateway.processes.member import VARIABLE
from gateway.processes.office import Office
from gateway.processes.pauses import FIRST_SECONDS, LASTING_SECONDS, LONGEST_SECONDS, Pauses


@pytest.mark.parametrize(("limit", "most"), [("100000 100000", 1), ("max 100000", None), ("5000 100000", 1)])
def test_auto_is_what_the_machine_and_the_container_allow(tmp_path: Path, limit: str, most: int | None) -> None:
    """A container's limit counts, rounded down but not to nothing; without one every core of ours does."""
    file = tmp_path / "cpu.max"
    file.write_text(f"{limit}\n")
    allowed = len(os.sched_getaffinity(0))
    assert usable_cores(file) == (allowed if most is None else most)
    assert usable_cores(tmp_path / "none") == allowed


def test_pauses_double_up_to_a_bound_and_begin_again_after_a_long_life() -> None:
    """A crash loop costs little, a rare crash is mended at once."""
    pauses = Pauses()
    drawn = [pauses.after(0.0) for _ in range(10)]
    assert drawn[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert drawn[-1] == max(drawn) == LONGEST_SECONDS
    assert pauses.after(LASTING_SECONDS) == FIRST_SECONDS


def test_the_directory_is_one_per_configuration_and_port(tmp_path: Path) -> None:
    """It lies where the machine says, and is the same when it is asked for again."""
    first = runtime_directory(tmp_path / "a.yaml", 1, {"XDG_RUNTIME_DIR": "/run/user/7"})
    assert first.path.parent == Path("/run/user/7")
    assert runtime_directory(tmp_path / "a.yaml", 1, {"XDG_RUNTIME_DIR": "/run/user/7"}).path == first.path
    others = [runtime_directory(tmp_path / "b.yaml", 1, {}), runtime_directory(tmp_path / "a.yaml", 2, {})]
    assert len({each.path.name for each in (first, *others)}) == 3
    assert runtime_directory(tmp_path, 1, {"RUNTIME_DIRECTORY": "/run/x:/run/y"}).path.parent == Path("/run/x")


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """So is a file in its place, and a path that no socket could have."""
    directory = RuntimeDirectory(tmp_path / "d")
    directory.prepare()
    directory.prepare()
    directory.path.chmod(0o755)
    with pytest.raises(DirectoryFault, match="open to other users"):
        directory.prepare()
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryFault):
        RuntimeDirectory(tmp_path / "file").prepare()
    with pytest.raises(DirectoryFault, match="too long"):
        RuntimeDirectory(tmp_path / ("x" * 100)).prepare()


def test_the_directory_knows_whose_sockets_answer(tmp_path: Path) -> None:
    """A socket that somebody has left behind answers no more."""
    directory = RuntimeDirectory(tmp_path)
    with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as living:
        left.bind(str(directory.gateway("1")))
        living.bind(str(directory.gateway("2")))
        living.listen(0)
        left.listen()
        left.close()
        assert sorted(directory.gateways()) == ["1", "2"]
        callers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            assert directory.answering() == ["2"]
            caller.connect_ex(str(directory.gateway("2")))
        for caller in callers:
            caller.close()


def test_one_parent_is_in_office(tmp_path: Path) -> None:
    """A second one cannot take it; it can when the first has left, and the open file hands it over without a gap."""
    first, second, third = (Office(tmp_path / "lock") for _ in range(3))
    assert first.take() and not second.take()
    second.inherit(os.dup(first.descriptor))
    first.leave()
    assert not third.take()
    second.leave()
    assert third.take() and third.is_held and not first.is_held
    third.leave()


def test_a_lock_that_was_removed_is_no_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who had opened it when its holder removed it has to look again; so has who comes when the directory is gone."""
    office, opened = Office(tmp_path / "d" / "lock"), os.open
    assert not office.take()
    (tmp_path / "d").mkdir()

    def open_and_lose(path: Path, flags: int, mode: int) -> int:
        descriptor = opened(path, flags, mode)
        path.unlink()
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_and_lose)
        assert not office.take()
    assert office.take()
    office.leave()


def guarded(code: str) -> "subprocess.Popen[bytes]":
    """A Python program under the guard."""
    command = [sys.executable, guard.__file__, sys.executable, "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize(("end", "status"), [("raise SystemExit(7)", 7), ("os.kill(os.getpid(), 9)", 128 + 9)])
def test_the_guard_ends_as_its_program_does(end: str, status: int) -> None:
    """With its status, or 128 and the signal."""
    with guarded(f"import os; {end}") as process:
        assert process.wait() == status


@pytest.mark.parametrize("stubborn", [False, True])
def test_the_guard_ends_its_program_when_nobody_holds_the_pipe(stubborn: bool) -> None:
    """The last holder counts, not the first; a program that ignores SIGTERM is killed."""
    ignores = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else ""
    with guarded(f"import signal, time; {ignores}\nprint('up', flush=True); time.sleep(600)") as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        other_holder = os.dup(process.stdin.fileno())
        process.stdin.close()
        assert select.select([process.stdout], [], [], 0.2)[0] == []
        os.close(other_holder)
        assert process.stdout.read() == b""
        assert process.wait() == 128 + (9 if stubborn else 15)


def test_a_process_is_a_replica_of_its_own() -> None:
    """By the store beside it, or by the configured one: then its name says of which gateway it is a process."""
    member = Member("2", 4, "/d", (3,), "unix:///d/store.sock")
    alone = member.replicas(Config())
    assert (alone.store, alone.name, alone.expected) == ("unix:///d/store.sock", "2", 4)
    assert alone.is_beside
    fleet = Replicas(store="redis://store:6379", name="east", expected=3)
    shared = member.replicas(Config(replicas=fleet))
    assert (shared.store, shared.name, shared.expected) == ("redis://store:6379", "east/2", 12)
    assert not shared.is_beside


def test_what_the_parent_says_arrives_once() -> None:
    """A process takes its description out of the environment, so that no child of its own finds it there."""
    member = Member("2", 4, "/d", (3, 5), "unix:///d/store.sock", "ab", 7)
    environment = {VARIABLE: member.described()}
    assert member_of(environment) == member
    assert member_of(environment) is None
