"""Turns bytes into meaning, without I/O: requests, SSE, usage, errors and headers of three APIs.

The APIs are OpenAI's, Anthropic's and vLLM 0.32's. Nothing here opens a socket, reads a clock or logs. A client's
request that cannot be accepted raises `RequestFault`; an engine's answer that cannot be read raises `MalformedStream`.
Other packages decide who may run, when and where.
"""
