"""The fairness suite for any OpenAI-compatible gateway: scenarios, each with a verdict, its number and its margin.

The suite needs only the gateway's address and the keys of two to four tenants. It finds out by itself what stands
behind the gateway, and how fast that is. Numbers are ratios of service, of waits or of throughput. Service is 1 for an
input token and 2 for an output token, as the client received it.

`rules` decide (PURE: numbers in, verdict out). `observation` holds the numbers that they get. `capacity` turns a ramp
of load into the sizes of all scenarios. `greeting` learns how the endpoint speaks. `arena` puts load on it. `plays`
holds the scenarios' acts. `suite` runs them, with their claims from `scenarios.yaml`. `presentation` writes the
verdicts.
"""
