"""The fairness suite for any OpenAI-compatible gateway: scenarios, each with a verdict, its number and its margin.

It needs nothing of the gateway but an address and the keys of two to four tenants; what stands behind it, and how fast
that is, it finds out by itself. Numbers are ratios: of service, of waits, of throughput. Service is 1 for an input
token and 2 for an output token, as the client received it.

`rules` decide (PURE: numbers in, verdict out), `observation` is what they are given, `capacity` turns a ramp of load
into the sizes of all scenarios. `greeting` learns how the endpoint speaks, `arena` puts load on it, `plays` are the
scenarios' acts, `suite` runs them, with their claims from `scenarios.yaml`; `presentation` writes the verdicts.
"""
