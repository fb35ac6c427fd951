"""Tells an operator's server by a signed POST that a budget is nearly or wholly used up.

The form is that of Standard Webhooks (standardwebhooks.com): an id, a time, and an HMAC-SHA256 over both and the body.
One task sends one event after the other, far from the requests. What is not answered with 2xx is sent again, with
growing pauses, for an hour. So an event may come twice or out of order, always under one id. A bounded number waits.
The library is imported only by a gateway that has a webhook.
"""

import asyncio
import hashlib
import hmac
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson

from gateway.background import Background
from gateway.config import Webhook
from gateway.events import BudgetThreshold, Event

if TYPE_CHECKING:
    from aiohttp import ClientSession

MAX_WAITING: Final = 1000  # events; beyond it the oldest is dropped
LASTING_SECONDS: Final = 3600.0  # an event that was not delivered by then is dropped
LONGEST_PAUSE_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 10.0  # for one attempt
_LAST_SECONDS: Final = 2.0  # for what waits when the gateway ends
_FIRST_PAUSE_SECONDS: Final = 1.0
_ID_BYTES: Final = 16
_TYPE: Final = "budget.threshold"
_USED_UP_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class WebhookSnapshot:
    """How the webhook fares; `failure` says why the last attempt failed, "" if it did not."""

    failure: str
    waiting_events: int
    delivered_events: int
    failed_attempts: int
    dropped_events: int


@dataclass(frozen=True, slots=True)
class _Notice:
    id: str
    body: bytes
    noted_at: float  # loop time


class WebhookSender:
    """Sends what it observes of budgets; all else it ignores."""

    def __init__(self, webhook: Webhook, report: Callable[[str | None], None]) -> None:
        """Send nothing before `start`; `report` hears why attempts fail, and None once they succeed again."""
        self._webhook = webhook
        self._proxy = _proxy(webhook.url)
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Notice] = deque()
        self._news = asyncio.Event()
        self._background = Background("webhook", self._live, "the webhook broke")
        self._failure = ""
        self._failures = 0  # in a row
        self._delivered = self._failed = self._dropped = 0

    # -- life

    def observe(self, event: Event) -> None:
        """Queue an event about a budget; never waits."""
        if isinstance(event, BudgetThreshold):
            self._waiting.append(_notice(event, self._loop.time()))
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._news.set()

    def start(self) -> None:
        """Begin to send."""
        self._background.start()

    async def stop(self) -> int:
        """Try once more, for a moment, to send what waits; returns how many events are lost."""
        await self._background.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._send_last()
        return len(self._waiting)

    def snapshot(self) -> WebhookSnapshot:
        """How it fares."""
        return WebhookSnapshot(self._failure, len(self._waiting), self._delivered, self._failed, self._dropped)

    # -- sending

    async def _live(self) -> None:
        async with _session() as session:
            while True:
                while self._waiting:
                    await self._try(session)
                    await asyncio.sleep(self._pause_seconds())
                self._news.clear()
                await self._news.wait()

    async def _send_last(self) -> None:
        if not self._waiting:
            return
        async with _session() as session:
            for _ in range(len(self._waiting)):
                await self._try(session)

    async def _try(self, session: "ClientSession") -> None:
        """Send the first event that waits; if that fails it goes behind the others. Cancelled: it stays the first."""
        notice = self._waiting[0]
        failure = await self._send(session, notice)
        if self._waiting and self._waiting[0] is notice:  # else it was dropped meanwhile
            self._waiting.popleft()
            self._end_attempt(notice, failure)
        self._note(failure)

    def _end_attempt(self, notice: _Notice, failure: str) -> None:
        if not failure:
            self._delivered += 1
        elif self._loop.time() - notice.noted_at < LASTING_SECONDS:
            self._waiting.append(notice)
        else:
            self._dropped += 1

    def _note(self, failure: str) -> None:
        was_failing, self._failure = bool(self._failure), failure
        self._failed += bool(failure)
        self._failures = self._failures + 1 if failure else 0
        if bool(failure) is not was_failing:
            self._report(failure or None)

    def _pause_seconds(self) -> float:
        if not self._failures:
            return 0.0
        return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE_SECONDS)

    async def _send(self, session: "ClientSession", notice: _Notice) -> str:
        """Make one attempt; returns why it failed, "" if it did not."""
        from aiohttp import ClientError

        stamp = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "webhook-id": notice.id,
            "webhook-timestamp": stamp,
            "webhook-signature": signature(self._webhook.secret, notice.id, stamp, notice.body),
        }
        try:
            async with session.post(
                self._webhook.url, data=notice.body, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as answer:
                return "" if 200 <= answer.status < 300 else f"it answered with status {answer.status}"
        except TimeoutError:
            return f"it did not answer within {PATIENCE_SECONDS:g} s"
        except (ClientError, OSError) as error:
            return str(error) or type(error).__name__


def signature(secret: bytes, event_id: str, stamp: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = b"%b.%b.%b" % (event_id.encode(), stamp.encode(), body)
    return "v1," + b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode("ascii")


def _session() -> "ClientSession":
    from aiohttp import ClientSession, ClientTimeout

    timeout, headers = ClientTimeout(total=PATIENCE_SECONDS), {"user-agent": "vtc-gateway"}
    return ClientSession(timeout=timeout, headers=headers)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for `url`; the library would read `~/.netrc` too."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _notice(event: BudgetThreshold, now: float) -> _Notice:
    """The body of an event, with an id that is the same from every gateway, and after a restart."""
    data = event._asdict()
    what = {name: value for name, value in data.items() if name != "used"}
    event_id = "budget_" + hashlib.sha256(orjson.dumps(what)).hexdigest()[: 2 * _ID_BYTES]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return _Notice(event_id, orjson.dumps({"type": _TYPE, "timestamp": at, "text": _words(event), "data": data}), now)


def _words(event: BudgetThreshold) -> str:
    owner = f"Tenant {event.tenant}"
    if event.key:
        owner += f", key {event.key}"
    if event.end_user:
        owner += f", end user {event.end_user}"
    unit = event.unit.replace("_", " ")
    reached = "has used its budget up" if event.percent >= _USED_UP_PERCENT else f"has used {event.percent} %"
    return (
        f"{owner} {reached}: {event.used:,.10g} of {event.amount:,.10g} {unit} for this {event.period}. "
        f"The next one begins at {event.starts_again}."
    )
