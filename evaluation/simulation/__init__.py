"""Discrete events in virtual time: the production scheduler in front of simulated engines. Pure: no clock, no chance.

Nothing of the gateway is imitated: `front` drives `gateway.fairness.Admission` as the proxy does, and where a window
decides it is `gateway.workers.Fleet`. `workers` steps the engines, of which there are two models: `rounds`, the
paper's, and `batching`, the embedded engine's vLLM scheduler. `settings` says what a run is, `run` plays it; `result`
is what is left of it, `gauges` what the engines say of themselves meanwhile.
"""
