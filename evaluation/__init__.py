"""The evidence: everything that judges a gateway, ours or another's.

`requests` describes each request and how it ended. `workloads` makes or reads requests. `simulation` runs the
production scheduler on models of engines in virtual time. `load` drives live endpoints. `metrics` computes numbers from
the ended requests. `pictures` and `report` show the results. The commands use these packages: `paper` repeats the
published evaluation, `play` simulates and replays workloads, `bench` measures this gateway, `conformance` judges any.
It is the one package that may import the pure cores of both programs (`gateway.fairness`, `gateway.workers`,
`backend.engine.core`), and nothing but the command line imports it.
"""
