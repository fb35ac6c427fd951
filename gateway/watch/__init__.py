"""How the workers fare: what the gateway asks them beside the requests, and what follows from the answers.

Rules. Nothing here touches a request's answer. This package feeds the circuit and the window (`gateway.workers`) and
tells the dispatcher that room may have appeared. Each loop runs on `gateway.background`, which starts a broken one
again.

Modules: `health` probes the workers and hears what requests met there; `models` asks which model a worker serves;
`reminders` decides when lasting trouble is reported again. `poller` reads the engines' metrics; `reconciliation`
compares them with the tokens that the gateway metered. `watchdog` notices a worker that stands still; `death_guard`
finds the request that killed a worker; `outages` says for how long requests wait while no worker serves. `launched`
and `supervisor` run the workers that the gateway itself has started.
"""
