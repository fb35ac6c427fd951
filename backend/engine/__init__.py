"""The embedded engine: vLLM 0.32's HTTP surface, scheduling and failure modes with a cost model in place of a GPU.

`core` decides which tokens a step computes (pure, takes the time as an argument); `loop` runs steps in the event
loop; `api` speaks vLLM's dialects; `server` puts them on a socket. Text is deterministic and readable, one token is
one byte of UTF-8, and the server keeps its own counts as a witness against the gateway's.
"""
