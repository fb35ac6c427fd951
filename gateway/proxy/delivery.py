"""The end of every answer, a stream's too: the client takes the last bytes, or is cut off, and the record ends.

All answers go through `downstream`, which bounds what waits for a client and how long it may take. An answer counts as
delivered when the client has taken nearly all of it. The bytes of a complete answer count in the custody of the caller
until then.
"""

import asyncio

from gateway.clients.downstream import ClientStalled, Downstream, Outbox, WholeAnswer
from gateway.clients.refusal import own_headers
from gateway.clients.request import ClientRequest
from gateway.outcomes import Outcome
from gateway.proxy.record import RequestRecord


class Delivery:
    """Answers clients."""

    def __init__(self, outbox: Outbox, stall_seconds: float) -> None:
        """Cut off clients that take too little for `stall_seconds`."""
        self._outbox = outbox
        self._stall_seconds = stall_seconds
        self.closes_connections = False  # True: every answer is the last one of its connection

    def downstream(self, request: ClientRequest, request_id: str) -> Downstream:
        """The way of an answer to `request`, with the gateway's own headers."""
        headers = own_headers(request, request_id)
        return Downstream(request, headers, self._outbox, self._stall_seconds, is_last=self.closes_connections)

    async def deliver(
        self, request: ClientRequest, answer: WholeAnswer, record: RequestRecord, outcome: Outcome
    ) -> bool:
        """Send `answer`, and end `record` with `outcome` once the client has it; True if its connection is kept.

        Cancelled: the record ends here too; the caller's custody lets go of the bytes.
        """
        downstream = self.downstream(request, record.request_id)
        downstream.send(answer)
        try:
            return await self.end(downstream, record, outcome)
        except asyncio.CancelledError:
            is_pushed_out = request.holding is not None and request.holding.is_pushed_out
            record.end(Outcome.BODY_PUSHED_OUT if is_pushed_out else Outcome.CLIENT_GONE_STREAMING)
            raise

    async def end(self, downstream: Downstream, record: RequestRecord, outcome: Outcome, reason: str = "") -> bool:
        """Wait until the client has taken what was sent; `record` then ends with `outcome`. Returns as `deliver`.

        Cancelled: the client has missed the last bytes, and the caller ends the record.
        """
        try:
            await downstream.drain()
        except ClientStalled:
            outcome, reason = Outcome.CLIENT_STALLED, "with the whole answer made"
        record.end(outcome, reason, downstream.status)
        return downstream.keeps_alive
