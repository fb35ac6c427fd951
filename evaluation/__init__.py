"""The evidence: everything that judges a gateway, ours or another's.

`requests` says what arrives and what became of it; `workloads` makes or reads what arrives; `simulation` runs the
production scheduler on models of engines in virtual time; `load` drives live endpoints; `metrics` turns what became of
the requests into numbers; `pictures` and `report` show what was found. On these stand the commands: `paper` repeats the
published evaluation, `play` simulates and replays workloads, `bench` measures this gateway, `conformance` judges any.
It is the one package that may import the pure cores of both programs (`gateway.fairness`, `gateway.workers`,
`backend.engine.core`), and nothing but the command line imports it.
"""
