"""Decides where a request runs and how much fits. Pure.

Modules. `window`: one worker's room, in sequences and in prompt tokens that are not yet prefilled. `tuning`: how large
that window is. `circuit`: whether a worker may be used, as a table. `placement`: the choice among a pool's workers, by
load, by what `prefixes` says about their caches, and within each tenant's `deficits`. `worker`: one worker. `fleet`:
the workers of all pools; it implements the scheduler's `Capacity`. `shared_fleet`: the same where other replicas of the
gateway use the workers too. `quarantine`: which request kills each worker that
it meets. `judgement`: whose fault it is when something goes wrong, and what follows.
Left to others: `watch` probes workers, `endpoints` connects to them, `proxy` and `watch` keep the timers.
"""

from gateway.workers.circuit import Circuit, CircuitState, Signal
from gateway.workers.fleet import Fleet
from gateway.workers.judgement import Action, Effect, Evidence, Situation, evidence_of, judge
from gateway.workers.prefixes import prefix_chain
from gateway.workers.quarantine import Blame, Clearance, Quarantine, Suspect, SuspectSnapshot
from gateway.workers.sample import EngineFacts, EngineSample
from gateway.workers.shared_fleet import SharedFleet
from gateway.workers.snapshot import Limit, Phase, WorkerSnapshot
from gateway.workers.tuned_limits import Holding, Others, TunedLimits
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
    "Holding",
    "Limit",
    "Others",
    "Phase",
    "Quarantine",
    "SharedFleet",
    "Signal",
    "Situation",
    "Suspect",
    "SuspectSnapshot",
    "TunedLimits",
    "Window",
    "WindowSize",
    "WorkerSnapshot",
    "WorkerSpec",
    "evidence_of",
    "judge",
    "open_window",
    "prefix_chain",
]
