"""The webhook delivers signed events, tries again where it must, and holds nobody up."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from virtual_time import passing_time, virtual_time
from whole_gateway import Plan, Stage, exactly, question, stage, tenant

from gateway.config import BudgetEntry, Ledger, Webhook
from gateway.config.webhook import signing_key
from gateway.events import BudgetThreshold, RequestQueued
from gateway.webhook import LASTING_SECONDS, LONGEST_PAUSE_SECONDS, MAX_WAITING, WebhookSender, signature

SECRET = b"0123456789abcdef0123456789abcdef"
PAGE = Path(__file__).parents[2] / "docs" / "webhook.md"
OK, ERROR = 204, 500


def threshold(percent: int = 80, **changes: Any) -> BudgetThreshold:
    """A budget of alice has reached `percent`."""
    values: dict[str, Any] = {
        "tenant": "alice",
        "key": "",
        "end_user": "",
        "percent": percent,
        "unit": "tokens",
        "amount": 1_000_000,
        "used": 10_000.0 * percent,
        "period": "month",
        "starts_again": "2026-12-01T00:00:00+00:00",
    }
    return BudgetThreshold(**(values | changes))


@dataclass(frozen=True, slots=True)
class Post:
    """What came to the receiver, and when."""

    at: float
    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Mapping[str, Any]:
        """What it says of the budget."""
        found: Mapping[str, Any] = json.loads(self.body)["data"]
        return found


@dataclass(slots=True)
class Receiver:
    """A server that answers with each of `statuses` once and then with 204; 0: it says nothing."""

    statuses: list[int] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    location: str = ""
    refused: str = ""  # a tenant of which it takes nothing
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes on one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode().rstrip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.posts.append(Post(asyncio.get_running_loop().time(), line, headers, body))
                status = self.statuses.pop(0) if self.statuses else OK
                if self.refused and self.posts[-1].data["tenant"] == self.refused:
                    status = ERROR
                if status:
                    writer.write(
                        f"HTTP/1.1 {status} X\r\nLocation: {self.location}\r\nContent-Length: 0\r\n\r\n".encode()
                    )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver(list(statuses))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=1"
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def sending(url: str, reports: list[str | None] | None = None) -> AsyncIterator[WebhookSender]:
    """A sender that runs."""
    heard: list[str | None] = [] if reports is None else reports
    sender = WebhookSender(Webhook(url=url, secret=SECRET), heard.append)
    sender.start()
    try:
        yield sender
    finally:
        await sender.stop()


@virtual_time
async def test_an_event_is_delivered_at_once_and_signed() -> None:
    """One POST of JSON to the address as it was written; the signature is over the id, the time and the body."""
    async with receiving() as receiver, sending(receiver.url) as sender:
        sender.observe(RequestQueued("r1", "alice", "tiny"))
        sender.observe(threshold(80))
        await asyncio.sleep(1)
        (post,) = receiver.posts
        assert post.line == "POST /hook?x=1 HTTP/1.1"
        assert post.headers["content-type"] == "application/json"
        assert post.data == threshold(80)._asdict()
        event = json.loads(post.body)
        assert (event["type"], set(event)) == ("budget.threshold", {"type", "timestamp", "text", "data"})
        assert event["text"] == (
            "Tenant alice has used 80 %: 800,000 of 1,000,000 tokens for this month. "
            "The next one begins at 2026-12-01T00:00:00+00:00."
        )
        stamp = post.headers["webhook-timestamp"]
        assert post.headers["webhook-signature"] == signature(SECRET, post.headers["webhook-id"], stamp, post.body)
        assert sender.snapshot().delivered_events == 1


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the specification of Standard Webhooks."""
    secret = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@virtual_time
async def test_the_example_of_the_page_accepts_it_and_nothing_else() -> None:
    """The code for a receiver verifies what is sent; a changed body, an old time and another secret are refused."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    example: dict[str, Any] = {}
    exec(code, example)  # noqa: S102 - the page is our own
    is_genuine = example["is_genuine"]
    async with receiving() as receiver, sending(receiver.url) as sender:
        sender.observe(threshold())
        await asyncio.sleep(1)
        (post,) = receiver.posts
        assert is_genuine(SECRET.decode(), post.headers, post.body)
        assert not is_genuine("another secret of enough bytes", post.headers, post.body)
        assert not is_genuine(SECRET.decode(), post.headers, post.body + b" ")
        old = dict(post.headers) | {"webhook-timestamp": "1600000000"}
        old["webhook-signature"] = signature(SECRET, old["webhook-id"], "1600000000", post.body)
        assert not is_genuine(SECRET.decode(), old, post.body)


@pytest.mark.parametrize("status", [ERROR, 302, 404, 429, 0])
@virtual_time
async def test_what_fails_is_sent_again_with_growing_pauses(status: int) -> None:
    """All that is not 2xx counts as a failure, silence too, and no redirect is followed; the id stays."""
    reports: list[str | None] = []
    async with receiving(*[status] * 4) as receiver, sending(receiver.url, reports) as sender:
        receiver.location = receiver.url
        sender.observe(threshold())
        await asyncio.sleep(120)
        assert len(receiver.posts) == 5
        assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1
        pauses = [later.at - earlier.at for earlier, later in zip(receiver.posts, receiver.posts[1:], strict=False)]
        silent = 10.0 if status == 0 else 0.0
        assert pauses == pytest.approx([silent + 1, silent + 2, silent + 4, silent + 8], abs=0.1)
        snapshot = sender.snapshot()
        assert (snapshot.delivered_events, snapshot.failed_attempts, snapshot.waiting_events) == (1, 4, 0)
        assert (len(reports), reports[-1], snapshot.failure) == (2, None, "")
        assert reports[0] and ("10 s" if status == 0 else str(status)) in reports[0]


@virtual_time
async def test_nobody_listens_for_a_while() -> None:
    """Everything is kept, and follows within a minute once somebody listens; the pauses grow no further than that."""
    async with receiving() as receiver:
        pass
    async with sending(receiver.url) as sender:
        for number in range(20):
            sender.observe(threshold(tenant=f"t{number}"))
        await asyncio.sleep(1500)
        assert "127.0.0.1" in sender.snapshot().failure and "hook" not in sender.snapshot().failure
        port = int(receiver.url.split(":")[2].split("/")[0])
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", port)
        async with server:
            await asyncio.sleep(LONGEST_PAUSE_SECONDS + 1)
            assert {post.data["tenant"] for post in receiver.posts} == {f"t{number}" for number in range(20)}
            assert sender.snapshot().dropped_events == 0


@virtual_time
async def test_one_event_that_is_refused_holds_up_no_other_and_is_given_up_after_an_hour() -> None:
    """It goes behind the others after each attempt."""
    async with receiving() as receiver, sending(receiver.url) as sender:
        receiver.refused = "poison"
        sender.observe(threshold(tenant="poison"))
        await asyncio.sleep(0.5)
        sender.observe(threshold(tenant="bob"))
        sender.observe(threshold(tenant="carol"))
        await asyncio.sleep(5)
        assert [post.data["tenant"] for post in receiver.posts] == [
            "poison",
            "poison",
            "bob",
            "carol",
            "poison",
            "poison",
        ]
        await asyncio.sleep(LASTING_SECONDS + 2 * LONGEST_PAUSE_SECONDS)
        assert (sender.snapshot().waiting_events, sender.snapshot().dropped_events) == (0, 1)


@virtual_time
async def test_a_bounded_number_waits() -> None:
    """Beyond it the oldest is dropped and counted; noting an event never waits."""
    async with receiving(*[ERROR] * 10) as receiver, sending(receiver.url) as sender:
        for number in range(MAX_WAITING + 7):
            sender.observe(threshold(tenant=f"t{number}"))
        assert sender.snapshot().waiting_events == MAX_WAITING
        await asyncio.sleep(1)
        assert sender.snapshot().dropped_events == 7
        await asyncio.sleep(600)
        assert len({post.data["tenant"] for post in receiver.posts}) == MAX_WAITING


def ids(posts: Sequence[Post]) -> set[str]:
    """The ids of what came."""
    return {post.headers["webhook-id"] for post in posts}


@virtual_time
async def test_an_event_has_one_id_wherever_it_comes_from() -> None:
    """Two gateways, or one before and after a restart, tell of the same threshold under the same id."""
    async with receiving() as receiver:
        for used in (800_000.0, 812_345.0):
            async with sending(receiver.url) as sender:
                sender.observe(threshold(used=used))
                await asyncio.sleep(1)
        assert len(ids(receiver.posts)) == 1
        async with sending(receiver.url) as sender:
            for changes in ({"percent": 100}, {"key": "k"}, {"starts_again": "x"}, {"amount": 5}, {"unit": "money"}):
                sender.observe(threshold(**changes))
            await asyncio.sleep(1)
        assert len(ids(receiver.posts)) == 6


@virtual_time
async def test_the_whole_gateway_tells_and_its_end_waits_only_for_a_moment() -> None:
    """A failure is logged once, without the address; metrics count; what waits at the end is tried once more."""
    async with receiving(ERROR, ERROR, OK, OK, *[0] * 9) as receiver:
        webhook = Webhook(url=receiver.url, secret=SECRET)
        async with stage(plan=Plan(webhook=webhook)) as scene:
            await _tells(scene, receiver)
            began = asyncio.get_running_loop().time()
            await scene.stop()
            assert asyncio.get_running_loop().time() - began < 5
            log = [json.loads(line) for line in scene.end_log().splitlines()]
            lines = [line for line in log if "webhook" in line["event"]]
            assert [line["event"] for line in lines] == [
                "the webhook fails",
                "the webhook answers",
                "webhook events lost",
            ]
            assert "hook?x" not in json.dumps(log)


async def _tells(scene: Stage, receiver: Receiver) -> None:
    scene.emit(threshold(80))
    scene.emit(threshold(100))
    await asyncio.sleep(30)
    assert [post.data["percent"] for post in receiver.posts] == [80, 100, 80, 100]
    page = (await scene.get("/metrics")).body.decode()
    assert "vtc_gateway_webhook_delivered_events_total 2" in page
    assert "vtc_gateway_webhook_failed_attempts_total 2" in page
    scene.emit(threshold(80, tenant="late"))
    assert "vtc_gateway_webhook_works 1" in page


@virtual_time
async def test_a_budget_that_is_used_up_is_told(tmp_path: Path) -> None:
    """Once at 80 and once at 100 percent, with what the ledger's period says."""
    budgets = (BudgetEntry.model_validate({"amount": 2000, "period": "day", "per": "key"}),)
    async with receiving() as receiver, passing_time():
        plan = Plan(
            tenants=(tenant("alice", budgets=budgets),),
            ledger=Ledger(folder=tmp_path),
            webhook=Webhook(url=receiver.url, secret=SECRET),
        )
        async with stage(plan=plan) as scene:
            for _ in range(100):
                if (await scene.ask(question(**exactly(100)))).status == 429:
                    break
            await asyncio.sleep(1)
        assert [post.data["percent"] for post in receiver.posts] == [80, 100]
        first, last = (post.data for post in receiver.posts)
        assert (first["tenant"], first["key"], first["unit"], first["period"]) == ("alice", "key1", "tokens", "day")
        assert first["amount"] == last["amount"] == 2000
        assert 1600 <= first["used"] < last["used"] <= 2000
        assert datetime.fromisoformat(first["starts_again"]) > datetime.now(UTC)


@virtual_time
async def test_without_a_webhook_there_is_no_task_and_no_metric() -> None:
    """And the library is nobody's burden."""
    async with stage() as scene:
        page = (await scene.get("/metrics")).body.decode()
        assert "webhook" not in page
        assert "webhook" not in {task.get_name() for task in asyncio.all_tasks()}
