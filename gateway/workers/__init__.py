"""Where a request runs and how much fits: pure.

`window` holds one worker's room in sequences and in prompt tokens not yet prefilled; `circuit` says whether a worker
may be used, as a table; `placement` chooses among a pool's workers, by load and by what `prefixes` says of their
caches, within a tenant's `deficits`; `worker` is one of them, `fleet` keeps those of all pools; `quarantine` finds the
request that kills whatever worker it meets; `judgement` says whose fault it is when something goes wrong, and what
follows.
It answers the scheduler's `Capacity` port. `watch` probes, `endpoints` connects, `proxy` and `watch` keep the timers.
"""

from gateway.workers.circuit import Circuit, CircuitState, Signal
from gateway.workers.fleet import Fleet
from gateway.workers.judgement import Action, Effect, Evidence, Situation, evidence_of, judge
from gateway.workers.prefixes import prefix_chain
from gateway.workers.quarantine import Blame, Clearance, Quarantine, Suspect, SuspectSnapshot
from gateway.workers.sample import EngineFacts, EngineSample
from gateway.workers.snapshot import Limit, Phase, WorkerSnapshot
from gateway.workers.window import Window, WindowSize, open_window
from gateway.workers.worker import DRAINING, WorkerSpec

__all__ = [
    "DRAINING",
    "Action",
    "Blame",
    "Circuit",
    "CircuitState",
    "Clearance",
    "Effect",
    "EngineFacts",
    "EngineSample",
    "Evidence",
    "Fleet",
    "Limit",
    "Phase",
    "Quarantine",
    "Signal",
    "Situation",
    "Suspect",
    "SuspectSnapshot",
    "Window",
    "WindowSize",
    "WorkerSnapshot",
    "WorkerSpec",
    "evidence_of",
    "judge",
    "open_window",
    "prefix_chain",
]
