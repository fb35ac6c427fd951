"""Several gateways that share one account: what they say to a store, and what it decides. Pure: no clock, no I/O.

The store (Valkey or Redis) is a blackboard. It compares the candidates of all replicas, hands out the room of the
workers to the least counter, and keeps each flow's counter as the sum of what the replicas charged. It is never the
book of record, and a request that has room does not ask it.

Modules. `script`: a script of the store and its keys. `turn.lua`: the one that the store runs for each call. `call`:
the two sides of it as values. `replica`: what one gateway says, and which room it may use. `candidates`: the requests
that it names. `shared_flows`, `flow_book`: its counters and those of the others. `room_book`: the room that it holds.
`outage`: what it may do without the store. `strangers`: what an engine's metrics show of replicas that are silent.
`spread`: the replica's part of the bound.

Limits of tenants hold over all pools and have a script of their own. `quotas.lua`, `quota_call`: what is said of them.
`shared_limits`: one gateway's part in them. `quota_book`, `leases`: what it holds of each.
"""
