"""How bytes reach a worker: addresses, connections, and what is kept of each way.

Rules. A worker is reached by the URL in the configuration and by nothing else: no redirect is followed, no proxy of
the environment is used, no cookie is kept, nothing is unpacked. Heads, pages and waits have bounds. A lack of the
gateway's own (descriptors, ports, memory) is told apart from a fault of the worker.

Modules: `connection` is one HTTP/1.1 connection, read without a task; `upstream` makes connections, keeps idle ones
and fetches small pages; `names` looks up hosts; `failures` says how a worker can fail to be asked; `progress` notes
what a worker was last seen to do; `workers` keeps the way to each worker by its name; `roster` says under which name a
worker is known.
"""
