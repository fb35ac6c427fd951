"""The store that replicas share: how this gateway reaches it, and what it does when it cannot.

The store is a Valkey or Redis server of version 6.2 or later, which the operator runs. `gateway.replicas` decides what
is said to it; this package sends it.

Rules. A call is tried once and has a deadline (50 ms by default); whoever calls decides what follows. If a call ends
without its reply, because of the deadline, a cancellation or an error, its connection is closed: a late reply then has
nobody to reach, and never passes for the reply to a later call. What became of that call at the store stays unknown.
A new connection is a new acquaintance: the server says its run id, version and role there before anything else is sent.
Every failure is one `StoreFailed`, whose text is one line for the log: what failed, and what to do about it. Messages
from the store are hints. Some may be lost, and the next call says the same again.

Modules. `client`: what the rest of the gateway uses, calls and messages. `connection`: one connection, whose replies
come in the order of the commands. `greeting`: what a server says of itself, and whether it will do. `line`: opens
connections. `inbox`: the messages that one of them hears. `script`: a script and its name. `failures`: what a server's
errors mean to an operator. `owner`: the one task that calls. `room`: the scheduler's port to room that is shared.
`windows`: the fleet's windows in step with the store. `sharing`: what the composition root builds of all this.
"""
