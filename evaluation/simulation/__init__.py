"""Discrete events in virtual time: the production scheduler in front of simulated engines. Pure: no clock, no chance.

Nothing of the gateway is imitated: `front` drives `gateway.fairness.Admission` as the proxy does, and where a window
decides it is `gateway.workers.Fleet`. Two models of an engine stand behind it: `rounds`, the paper's, with the fit
check of `forecast`; and `batching`, which steps the embedded engine's vLLM scheduler. `settings` says what a run is,
`run` plays it, `job` is one request on its way; `result`, `spread` and `timeline` are what is left of it.
"""

from evaluation.simulation.gauges import GaugeFault, Polling, Reading
from evaluation.simulation.result import EngineTally, Result
from evaluation.simulation.run import RequestTooLarge, simulate
from evaluation.simulation.settings import EngineModel, Outage, RoundsSize, Settings, sized_to, with_length
from evaluation.simulation.spread import Dispatch, Spread
from evaluation.simulation.timeline import GRID_SECONDS, Timeline

__all__ = [
    "GRID_SECONDS",
    "Dispatch",
    "EngineModel",
    "EngineTally",
    "GaugeFault",
    "Outage",
    "Polling",
    "Reading",
    "RequestTooLarge",
    "Result",
    "RoundsSize",
    "Settings",
    "Spread",
    "Timeline",
    "simulate",
    "sized_to",
    "with_length",
]
