"""Discrete events in virtual time: the production scheduler in front of simulated engines. Pure: no clock, no chance.

No part of the gateway is imitated: `simulated_gateway` drives `gateway.fairness.Admission` as the proxy does, and
windows are those of `gateway.workers.Fleet`. `workers` steps the engines. There are two models of an engine: `rounds`,
the paper's, and `batching`, the embedded engine's vLLM scheduler. `settings` describes a run, `run` plays it, `result`
is its result, and `gauges` are what the engines say about themselves meanwhile.
"""
