"""Bytes to meaning, without I/O: requests, SSE, usage, errors and headers of the OpenAI, Anthropic and
vLLM 0.32 APIs.

Nothing here opens a socket, reads a clock or logs. What comes in from outside is refused with a
`RequestFault` (a client's request) or a `MalformedStream` (an engine's answer); who may run, when and where
is decided elsewhere.
"""
