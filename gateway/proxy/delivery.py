"""The end of every answer, a stream's too: the client takes the last bytes, or is cut off, and the record ends.

All answers go through `downstream`, which bounds what waits for a client and how long it may take. An answer counts as
delivered when the client has taken nearly all of it. The bytes of a complete answer count in the custody of the caller
until then.
"""

import asyncio

from aiohttp import web

from gateway.clients.custody import CUSTODY
from gateway.clients.downstream import ClientStalled, Downstream, Outbox, WholeAnswer
from gateway.clients.refusal import own_headers
from gateway.outcomes import Outcome
from gateway.proxy.record import RequestRecord


class Delivery:
    """Answers clients."""

    def __init__(self, outbox: Outbox, stall_seconds: float) -> None:
        """Cut off clients that take too little for `stall_seconds`."""
        self._outbox = outbox
        self._stall_seconds = stall_seconds
        self.closes_connections = False  # True: every answer is the last one of its connection

    def downstream(self, request: web.BaseRequest, request_id: str) -> Downstream:
        """The way of an answer to `request`, with the gateway's own headers."""
        headers = own_headers(request, request_id)
        return Downstream(request, headers, self._outbox, self._stall_seconds, is_last=self.closes_connections)

    async def deliver(
        self, request: web.BaseRequest, answer: WholeAnswer, record: RequestRecord, outcome: Outcome
    ) -> web.StreamResponse:
        """Send `answer`, end `record` with `outcome` once the client has it, and return what aiohttp needs.

        Cancelled: the record ends here too; the caller's custody lets go of the bytes.
        """
        downstream = self.downstream(request, record.request_id)
        downstream.send(answer)
        try:
            return await self.end(downstream, record, outcome)
        except asyncio.CancelledError:
            custody = request.get(CUSTODY)
            is_pushed_out = custody is not None and custody.is_pushed_out
            record.end(Outcome.BODY_PUSHED_OUT if is_pushed_out else Outcome.CLIENT_GONE_STREAMING)
            raise

    async def end(
        self, downstream: Downstream, record: RequestRecord, outcome: Outcome, reason: str = ""
    ) -> web.StreamResponse:
        """Wait until the client has taken what was sent; `record` then ends with `outcome`. Returns as `deliver`.

        Cancelled: the client has missed the last bytes, and the caller ends the record.
        """
        try:
            await downstream.drain()
        except ClientStalled:
            outcome, reason = Outcome.CLIENT_STALLED, "with the whole answer made"
        response = downstream.response
        record.end(outcome, reason, response.status)
        return response
