"""What the gateway tells its operator: metrics, log lines and the dump of its state.

Everything here listens to events (`gateway.events`) or reads snapshots through `source.StateSource`;
nothing here decides anything, so a gateway without telemetry schedules exactly the same. Labels and lines
hold names from the configuration, numbers and our own words: never a prompt, never a key.
"""
