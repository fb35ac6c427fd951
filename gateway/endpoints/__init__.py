"""How bytes reach a worker: its address, its connections, and what is known of them.

Rules. The gateway reaches a worker by the URL in the configuration and in no other way: it follows no redirect, uses no
proxy from the environment, keeps no cookie and decompresses nothing. Heads, pages and waits have bounds. If the gateway
itself lacks something (descriptors, ports, memory), this is never taken for a fault of the worker.

Modules: `connection` is one HTTP/1.1 connection, read without a task; `upstream` makes connections, keeps idle ones
and fetches small pages; `names` looks up hosts; `failures` lists why a worker could not be reached; `progress` notes
what a worker was last seen to do; `workers` keeps the endpoint of each worker by its name; `roster` decides under
which name a worker is known.
"""
