"""The evidence: everything that judges a gateway, ours or another's.

`requests` says what arrives and what became of it; `workloads` makes or reads what arrives; `simulation` runs the
production scheduler on models of engines in virtual time; `metrics` turns what became of the requests into numbers;
`paper` repeats the published evaluation; `bench`, `conformance` and `replay` put `load` on live endpoints and tell of
it on the `console`.
It is the one package that may import the pure cores of both programs (`gateway.fairness`, `gateway.workers`,
`backend.engine.core`), and nothing but the command line imports it.
"""
