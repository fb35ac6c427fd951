"""When a changed configuration is believed: written in pieces, replaced, switched behind links, and told by SIGHUP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from virtual_time import expect_in_log, run_in_virtual_time
from whole_gateway import Plan, Stage, stage, tenant

from gateway.config import Loaded
from gateway.events import ConfigReloaded
from gateway.reload import DOUBT_SECONDS, Reloader, read

TEXT = """\
listen: {port: 0, drain_seconds: 5, write_stall_seconds: 10}
pools:
  - model: tiny
    workers: [{name: w0, url: 'http://127.0.0.1:21250'}]
tenants:
  - name: alice
    limits: {requests_per_minute: 6000}
    keys: [{file: keys/alice.key}]
  - name: bob
    keys: [{file: keys/bob.key}]
"""
A_KEY, B_KEY, C_KEY = (f"vtc-{letter * 43}" for letter in "abc")
NOTICED_SECONDS = 1.0  # a whole change is in force by then
GAPS = (0.3, 1.0, 2.0)


class Scene:
    """A gateway, its files, and what it made of them."""

    def __init__(self, scene: Stage, folder: Path, reloader: Reloader) -> None:
        self.folder = folder
        self.path = folder / "config.yaml"
        self.reloader = reloader
        self._stage = scene

    @property
    def config(self) -> Any:
        """The configuration in force."""
        return self._stage.gateway.config

    @property
    def reloads(self) -> list[ConfigReloaded]:
        """Everything that was read and told."""
        return [event for event in self._stage.events if isinstance(event, ConfigReloaded)][1:]

    @property
    def tenants(self) -> list[str]:
        """Who is a tenant now."""
        return [each.name for each in self.config.tenants]


def lay_out(folder: Path) -> None:
    """The files of a configuration."""
    (folder / "keys").mkdir()
    for name, key in (("alice", A_KEY), ("bob", B_KEY)):
        (folder / "keys" / f"{name}.key").write_text(f"{key}\n")
        (folder / "keys" / f"{name}.key").chmod(0o600)
    (folder / "config.yaml").write_text(TEXT)


@asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[Scene]:
    """A gateway that runs with the files of `folder` and follows them."""
    path = folder / "config.yaml"
    async with stage(plan=Plan(tenants=(tenant("alice"),)), path=path) as scene:
        loaded = read(path)
        assert isinstance(loaded, Loaded), loaded
        scene.gateway.reload(loaded)
        reloader = Reloader(scene.gateway, loaded)
        reloader.start()
        await asyncio.sleep(1)
        try:
            yield Scene(scene, folder, reloader)
        finally:
            await reloader.stop()


Story = Callable[[Scene], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Run a story in virtual time, with its threads' work done in line."""

    async def in_line(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr("gateway.reload.asyncio.to_thread", in_line)
    lay_out(tmp_path)

    def run(story: Story) -> None:
        async def play() -> None:
            async with followed(tmp_path) as scene:
                await story(scene)

        run_in_virtual_time(play())

    return run


async def write_in_pieces(path: Path, text: str, cut: int, gap_seconds: float) -> None:
    """Write over `path` in place, with a pause at `cut`."""
    with path.open("w") as file:
        file.write(text[:cut])
        file.flush()
        await asyncio.sleep(gap_seconds)
        file.write(text[cut:])


@pytest.mark.parametrize("gap_seconds", GAPS)
@pytest.mark.parametrize(
    "after", ["name: alice\n", "alice.key}]\n", "requests_per_minute: 6", "127.0.0.1:2125", "- name: b"]
)
def test_a_file_written_in_two_pieces_is_read_once_and_whole(
    tell: Callable[[Story], None], after: str, gap_seconds: float
) -> None:
    """Cut after a tenant, within a number, a port or a name: nothing of the first piece is ever in force."""
    text = TEXT.replace("bob\n", "bob\n    weight: 2\n")

    async def story(scene: Scene) -> None:
        await write_in_pieces(scene.path, text, text.index(after) + len(after), gap_seconds)
        await asyncio.sleep(DOUBT_SECONDS + NOTICED_SECONDS)
        assert [reload.faults for reload in scene.reloads] == [()]
        assert scene.reloads[0].changes == ("tenant bob: weight: 1 -> 2",)

    tell(story)


@pytest.mark.parametrize("gap_seconds", GAPS)
@pytest.mark.parametrize("size", [0, 20])
def test_a_key_file_written_in_two_pieces_is_read_once_and_whole(
    tell: Callable[[Story], None], size: int, gap_seconds: float
) -> None:
    """A rotation that is written slowly is neither told as a fault nor believed in parts."""

    async def story(scene: Scene) -> None:
        await write_in_pieces(scene.folder / "keys" / "bob.key", f"{C_KEY}\n", size, gap_seconds)
        await asyncio.sleep(DOUBT_SECONDS + NOTICED_SECONDS)
        assert [(reload.faults, reload.changes) for reload in scene.reloads] == [
            ((), ("tenant bob: key key1 replaced",))
        ]

    tell(story)


def test_a_revoked_key_is_shut_out_within_a_second(tell: Callable[[Story], None]) -> None:
    """`disabled: true` makes the file longer: there is no reason for doubt."""

    async def story(scene: Scene) -> None:
        scene.path.write_text(TEXT.replace("keys/bob.key}", "keys/bob.key, disabled: true}"))
        await asyncio.sleep(NOTICED_SECONDS)
        assert scene.config.tenants[1].keys[0].disabled

    tell(story)


def test_what_is_gone_is_believed_when_it_stays_away(tell: Callable[[Story], None]) -> None:
    """A tenant that is removed keeps its key for 3 s and no longer; SIGHUP makes it at once."""
    without_bob = TEXT[: TEXT.index("  - name: bob")]

    async def story(scene: Scene) -> None:
        scene.path.write_text(without_bob)
        await asyncio.sleep(DOUBT_SECONDS - NOTICED_SECONDS)
        assert scene.tenants == ["alice", "bob"]
        await asyncio.sleep(2 * NOTICED_SECONDS)
        assert scene.tenants == ["alice"]
        scene.path.write_text(TEXT)
        await asyncio.sleep(NOTICED_SECONDS)
        assert scene.tenants == ["alice", "bob"]
        scene.path.write_text(without_bob)
        await scene.reloader.reload()
        assert scene.tenants == ["alice"]
        await asyncio.sleep(DOUBT_SECONDS + NOTICED_SECONDS)
        assert len(scene.reloads) == 3

    tell(story)


def test_a_fault_is_reported_once_when_it_stays(tell: Callable[[Story], None]) -> None:
    """Also a file that is gone; the last good one is in force, and the next good one is taken at once."""

    async def story(scene: Scene) -> None:
        scene.path.write_text(TEXT.replace("tenants:", "tenantz:"))
        await asyncio.sleep(DOUBT_SECONDS + NOTICED_SECONDS)
        (report,) = scene.reloads
        assert any("tenantz" in fault for fault in report.faults)
        scene.path.unlink()
        await asyncio.sleep(2 * DOUBT_SECONDS)
        assert len(scene.reloads) == 2 and scene.tenants == ["alice", "bob"]
        scene.path.write_text(TEXT + "    weight: 3\n")
        await asyncio.sleep(NOTICED_SECONDS)
        assert scene.config.tenants[1].weight == 3

    tell(story)


def test_a_file_that_never_stands_still_is_read_in_the_end(tell: Callable[[Story], None]) -> None:
    """Somebody writes several times a second and never stops: within half a minute the gateway follows."""

    async def story(scene: Scene) -> None:
        for number in range(200):
            scene.path.write_text(TEXT + f"    weight: 2 # {'x' * number}\n")
            await asyncio.sleep(0.2)
        assert scene.config.tenants[1].weight == 2

    tell(story)


def test_links_of_folders_are_followed(tell: Callable[[Story], None]) -> None:
    """A key file behind a folder link that is switched, the old folder still there, as a mounted Secret is."""

    async def story(scene: Scene) -> None:
        keys = scene.folder / "keys"
        keys.rename(scene.folder / "first")
        keys.symlink_to("first")
        await asyncio.sleep(DOUBT_SECONDS + NOTICED_SECONDS)
        before = len(scene.reloads)
        (scene.folder / "second").mkdir()
        for name, key in (("alice", A_KEY), ("bob", C_KEY)):
            (scene.folder / "second" / f"{name}.key").write_text(f"{key}\n")
            (scene.folder / "second" / f"{name}.key").chmod(0o600)
        (scene.folder / "link").symlink_to("second")
        (scene.folder / "link").rename(keys)
        await asyncio.sleep(NOTICED_SECONDS)
        assert [reload.changes for reload in scene.reloads[before:]] == [("tenant bob: key key1 replaced",)]

    tell(story)


def test_a_watch_that_breaks_is_reported_and_watches_on(
    tell: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes later is taken over as ever; so does a reload that is asked for after one that broke."""
    looks = 0

    async def story(scene: Scene) -> None:
        def broken(_: object) -> Any:
            nonlocal looks
            looks += 1
            raise MemoryError

        expect_in_log("the watch on the configuration broke; it begins again in ")
        expect_in_log("a reload that was asked for broke (reload)")
        asyncio.get_running_loop().set_exception_handler(None)
        with monkeypatch.context() as patch:
            patch.setattr("gateway.reload.stamps", broken)
            scene.reloader.ask()
            await asyncio.sleep(1)
        assert looks > 2
        scene.path.write_text(TEXT + "    weight: 2\n")
        scene.reloader.ask()
        await asyncio.sleep(0.01)
        assert scene.config.tenants[1].weight == 2
        scene.path.write_text(TEXT + "    weight: 3.5\n")
        await asyncio.sleep(2 * NOTICED_SECONDS)
        assert scene.config.tenants[1].weight == 3.5

    tell(story)
