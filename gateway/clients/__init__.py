"""The client's side of HTTP: what may come in and how an answer leaves, each with its bounds.

Rules. Heads, bodies and waits are bounded in bytes and in time. What two parsers could read differently is refused.
An answer that a client does not take is cut after a time, and what it holds in memory counts for its tenant. A
refusal has the format of the API that was called, a status, and where another attempt is worth its while a `Retry-
After`.

Modules: `server` is aiohttp's server with its gaps closed; `body` reads a body; `custody` counts what a request holds
in memory; `downstream` writes an answer; `refusal` words one that is none; `origins` answers browsers (CORS);
`request_ids` draws ids.
"""
