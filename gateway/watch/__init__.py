"""How the workers fare: what is asked of them beside the requests, and what follows from the answers.

Rules. Nothing here touches a request's answer: it feeds the circuit and the window (`gateway.workers`), and lets the
dispatcher know that room may have appeared. Each loop runs on `gateway.background`, so one that breaks begins again.

Modules: `health` probes and takes in what requests met, `models` asks which model a worker serves, `reminders` says
again what goes on; `poller` reads the engines' metrics, `reconciliation` compares them with what was metered;
`watchdog` notices a worker that stands still; `death_guard` finds the request that killed a worker; `outages` says
for how long requests wait where no worker serves; `launched` and `supervisor` keep the workers that the gateway has
started for itself.
"""
