"""The page in a real browser, in front of a real gateway; and the terminal's commands against the same listener."""

import asyncio
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect
from raw_client import Answer, Client
from whole_gateway import ADMIN_KEY, Plan, Stage, key_of, question, stage, tenant

from gateway.admin.listener import MOST_WRONG, AdminListener
from gateway.cli.admin_client import KEY_VARIABLE
from gateway.cli.bundle import bundle
from gateway.cli.top import TopOptions, status
from gateway.config import digest

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or "chromium"
INJECTION = "<img src=x onerror=alert(1)>"
VIEW = "/admin/v1/view/overview"
expect.set_options(timeout=60_000.0)  # milliseconds: a slow machine is no failure


@asynccontextmanager
async def admin(scene: Stage) -> AsyncIterator[str]:
    """The admin listener of the gateway on stage: its address."""
    listener = AdminListener(scene.gateway, "127.0.0.1:0")
    await listener.start()
    try:
        yield listener.url
    finally:
        await listener.stop()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Page, list[str]]]:
    """The page in Chromium, its key typed, and what the page complains of."""
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = await browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        await page.goto(url)
        await page.get_by_label("Admin key").fill(ADMIN_KEY)
        await page.keyboard.press("Enter")
        try:
            yield page, complaints
        finally:
            await browser.close()


async def get(url: str, path: str, key: str = "", host: str = "127.0.0.1") -> Answer:
    """The answer to one GET that calls the listener `host`."""
    client = await Client.connect(url)
    try:
        credential = f"Authorization: Bearer {key}\r\n" if key else ""
        client.send_raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{credential}\r\n".encode())
        return await client.read()
    finally:
        await client.close()


def test_an_operator_finds_a_tenant_and_its_request() -> None:
    """From the key to one request; the name of a tenant is text, whatever it says."""

    async def story() -> None:
        tenants = tuple(tenant(name) for name in ("alice", INJECTION, *(f"team-{n}" for n in range(60))))
        async with stage(plan=Plan(tenants)) as scene, admin(scene) as url:
            answers = [await scene.ask(question(), name) for name in ("alice", INJECTION)]
            request_id = answers[1].headers["x-request-id"]
            async with opened(url) as (page, complaints):
                await expect(page.get_by_text("All is well")).to_be_visible()
                await page.get_by_label("Search a tenant").fill("IMG SRC")
                await expect(page.get_by_role("link", name="alice")).to_have_count(0)
                await page.get_by_role("link", name=INJECTION).click()
                await expect(page.get_by_role("heading", name=INJECTION)).to_be_visible()
                await expect(page.get_by_text("✓ valid")).to_be_visible()
                await page.get_by_role("link", name="← all").click()
                await page.get_by_label("Id of a request").fill(request_id)
                await page.get_by_role("button", name="Find").click()
                await expect(page.get_by_role("cell", name="completed")).to_be_visible()
                await page.reload()
                await expect(page.get_by_role("cell", name="completed")).to_be_visible()
                await page.get_by_role("button", name="Forget the key").click()
                await expect(page.get_by_label("Admin key")).to_be_visible()
                assert await page.evaluate("sessionStorage.length") == 0
                assert complaints == []

    asyncio.run(story())


def test_a_view_needs_the_key_and_wrong_keys_are_counted() -> None:
    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            assert (await get(url, VIEW)).status == 401
            assert (await get(url, VIEW, ADMIN_KEY)).status == 200
            for _ in range(MOST_WRONG):
                assert (await get(url, VIEW, "wrong")).status == 401
            assert (await get(url, VIEW, ADMIN_KEY)).status == 429

    asyncio.run(story())


@pytest.mark.parametrize(
    ("line", "credential", "code"),
    [
        ("GET / HTTP/1.1", "", 200),
        ("GET /page/page.js HTTP/1.1", "", 200),
        ("GET /page/views.py HTTP/1.1", "", 404),
        ("GET /nowhere HTTP/1.1", "", 404),
        ("POST / HTTP/1.1", "", 405),
        (f"GET {VIEW} HTTP/1.1", "", 401),
        (f"GET {VIEW} HTTP/1.1", "Bearer k\xe9y", 401),
        (f"GET {VIEW} HTTP/1.1", f"Bearer {ADMIN_KEY}", 200),
        (f"POST {VIEW} HTTP/1.1", f"Bearer {ADMIN_KEY}", 405),
        ("GET /admin/v1/nothing HTTP/1.1", f"Bearer {ADMIN_KEY}", 404),
    ],
)
def test_every_answer_tells_the_browser_what_it_may_not(line: str, credential: str, code: int) -> None:
    """No answer may be kept, framed or run as something else, whatever was asked for with whatever key."""

    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            client = await Client.connect(url)
            head = f"{line}\r\nHost: localhost\r\n" + (f"Authorization: {credential}\r\n" if credential else "")
            client.send_raw(f"{head}\r\n".encode("latin-1"))
            answer = await client.read()
            await client.close()
            assert answer.status == code
            assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
            assert answer.headers["cache-control"] == "no-store"

    asyncio.run(story())


@pytest.mark.parametrize("port", ["taken", "99999"])
def test_an_address_that_cannot_be_used_is_named(port: str) -> None:
    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            address = f"127.0.0.1:{port.replace('taken', url.rpartition(':')[2])}"
            second = AdminListener(scene.gateway, address)
            with pytest.raises(RuntimeError, match=f"admin.listen {address} cannot be used"):
                await second.start()
            await second.stop()

    asyncio.run(story())


def test_a_gateway_whose_page_has_no_port_ends_with_the_reason(tmp_path: Path) -> None:
    """It ends before its workers are started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "config.yaml"
        config.write_text(
            f"admin: {{listen: '{address}', key: {{sha256: '{digest(ADMIN_KEY).hex()}'}}}}\n"
            "pools: [{model: tiny, workers: [{url: 'http://127.0.0.1:9'}]}]\n"
            "tenants: [{name: alice}]\n"
        )
        command = [sys.executable, "-m", "gateway", "serve", str(config), "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert f"admin.listen {address} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "code"), [("localhost:9", 200), ("[::1]:9", 200), ("127.0.0.1", 200), ("evil.example", 421), ("[::1", 421)]
)
def test_a_foreign_name_is_refused(host: str, code: int) -> None:
    """A page of another site whose name leads to this machine gets nothing."""

    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            assert (await get(url, "/", host=host)).status == code

    asyncio.run(story())


def test_the_page_may_load_nothing_but_its_own_files() -> None:
    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            answer = await get(url, "/")
            assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
            assert answer.headers["cache-control"] == "no-store"
            assert b"<script>" not in answer.body
            assert (await get(url, "/page/../views.py")).status == 404
            assert (await get(url, "/page/%2e%2e%2fviews.py")).status == 404

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("tenants?sort=size", 400),
        ("tenants?q=ali&sort=wait", 200),
        ("tenants/alice", 200),
        ("tenants/nobody", 404),
        ("requests/nothing", 404),
        ("drift", 200),
        ("state", 200),
        ("metrics", 200),
    ],
)
def test_the_views_answer(path: str, code: int) -> None:
    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            assert (await get(url, f"/admin/v1/view/{path}", ADMIN_KEY)).status == code

    asyncio.run(story())


def test_the_terminal_shows_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            await scene.ask(question(), "alice")
            monkeypatch.setenv(KEY_VARIABLE, ADMIN_KEY)
            assert await asyncio.to_thread(status, TopOptions(url)) == 0
            shown = capsys.readouterr().out
            assert "All is well" in shown
            assert "alice" in shown
            monkeypatch.setenv(KEY_VARIABLE, "wrong")
            assert await asyncio.to_thread(status, TopOptions(url)) == 2
            assert "not accepted" in capsys.readouterr().err

    asyncio.run(story())
    assert status(TopOptions("http://127.0.0.1:1")) == 2


def test_a_bundle_has_everything_but_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bundle.tar.gz"

    async def story() -> None:
        async with stage() as scene, admin(scene) as url:
            await scene.ask(question(), "alice")
            monkeypatch.setenv(KEY_VARIABLE, ADMIN_KEY)
            assert await asyncio.to_thread(bundle, file, url) == 0
            assert await asyncio.to_thread(bundle, file, url) == 1  # it is there already

    asyncio.run(story())
    assert file.stat().st_mode & 0o077 == 0
    with tarfile.open(file) as archive:
        parts = {Path(each.name).name: archive.extractfile(each) for each in archive}
        texts = {name: part.read() for name, part in parts.items() if part is not None}
    assert set(texts) == {"overview.json", "drift.json", "state.json", "metrics.txt", "versions.json"}
    assert b"alice" in texts["state.json"]
    for secret in (ADMIN_KEY, key_of("alice"), digest(ADMIN_KEY).hex(), digest(key_of("alice")).hex()):
        assert all(secret.encode() not in text for text in texts.values())
