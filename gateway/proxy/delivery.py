"""Sends an answer that is complete before its first byte: a page, a utility request's answer, a refusal.

Such an answer takes the same way as a stream (`downstream`): a client that takes it too slowly is cut off, and the
answer counts as delivered when the client has taken nearly all of it. Until then its bytes count in the custody of the
caller.
"""

import asyncio
from http import HTTPStatus

from aiohttp import web

from gateway.clients.custody import CUSTODY
from gateway.clients.downstream import ClientStalled, Downstream, Outbox
from gateway.outcomes import Outcome
from gateway.proxy.record import RequestRecord


def body_of(answer: web.Response) -> bytes:
    """The whole body of `answer`."""
    body = answer.body or b""
    assert isinstance(body, bytes)
    return body


class Delivery:
    """Sends complete answers."""

    def __init__(self, outbox: Outbox, stall_seconds: float) -> None:
        """Cut off clients that take too little for `stall_seconds`."""
        self._outbox = outbox
        self._stall_seconds = stall_seconds

    async def deliver(
        self, request: web.BaseRequest, answer: web.Response, record: RequestRecord, outcome: Outcome
    ) -> web.StreamResponse:
        """Send `answer`, end `record` with `outcome` once the client has it, and return what aiohttp needs.

        Cancelled: the record ends here too; the caller's custody lets go of the bytes.
        """
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
