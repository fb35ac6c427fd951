"""The client's side of HTTP: how requests come in and answers leave, each within bounds.

Rules. Heads, bodies and waits are bounded in bytes and in time. The gateway refuses a request that two parsers could
read differently. It cuts off a client that does not take its answer for too long; the memory of the answer counts
for the client's tenant. A refusal has the format of the API that was called, a status, and a `Retry-After` if another
attempt makes sense.

Modules: `server` accepts connections; `connection` handles the requests of one; `incoming` makes requests of its bytes,
and `protocol` refuses some of them; `request` is one request; `body` reads its body; `custody` counts what it holds in
memory; `downstream` writes an answer; `refusal` makes the answer to a request that does not run; `origins` answers
browsers (CORS); `request_ids` draws ids.
"""
