"""Shows the gateway to its operator: metrics, log lines and the dump of its state.

The modules here receive events (`gateway.events`) or read snapshots through `source.StateSource`. They decide nothing,
so a gateway without telemetry would schedule in the same way. Labels and lines contain names from the configuration,
numbers and our own words, but never a prompt and never a key.
"""
