"""How an answer that is whole before its first byte leaves: a page, what a utility request asked for, a refusal.

It goes by the same way as a stream (`downstream`), so that a client which takes it too slowly is cut, and it counts as
delivered when the client has taken nearly all of it. Who made it holds its bytes until then.
"""

import asyncio
from http import HTTPStatus

from aiohttp import web

from gateway.clients.custody import CUSTODY
from gateway.clients.downstream import ClientStalled, Downstream, Outbox
from gateway.outcomes import Outcome
from gateway.proxy.record import RequestRecord


def body_of(answer: web.Response) -> bytes:
    """The whole body."""
    body = answer.body or b""
    assert isinstance(body, bytes)
    return body


class Delivery:
    """Sends whole answers."""

    def __init__(self, outbox: Outbox, stall_seconds: float) -> None:
        """Cut clients that take too little for `stall_seconds`."""
        self._outbox = outbox
        self._stall_seconds = stall_seconds

    async def deliver(
        self, request: web.BaseRequest, answer: web.Response, record: RequestRecord, outcome: Outcome
    ) -> web.StreamResponse:
        """Send `answer` and end `record` with `outcome` once it is taken; what to return to aiohttp."""
        body = body_of(answer)
        downstream = Downstream(request, (), self._outbox)
        length = None if answer.status == HTTPStatus.NO_CONTENT else len(body)
        downstream.open(answer.status, list(answer.headers.items()), length, is_last=answer.keep_alive is False)
        if request.method != "HEAD":
            downstream.write(body)
        downstream.finish()
        try:
            await downstream.drain(self._stall_seconds)
            record.end(outcome, status=answer.status)
        except ClientStalled:
            record.end(Outcome.CLIENT_STALLED, "with the whole answer made", answer.status)
        except asyncio.CancelledError:
            custody = request.get(CUSTODY)
            is_pushed_out = custody is not None and custody.is_pushed_out
            record.end(Outcome.BODY_PUSHED_OUT if is_pushed_out else Outcome.CLIENT_GONE_STREAMING)
            raise
        return downstream.response
