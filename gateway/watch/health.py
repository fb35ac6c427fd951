"""Watches the workers: it probes each one, hears what requests met there, and reports every change.

A probe is `GET /health`: the answer says that the engine's server lives. Only requests show whether requests succeed.
Now and then, and always while it does not serve, the worker must also list the pool's model (`models`). An engine under
load may leave a probe unanswered while its streams go on: such silence does not count against it. An engine that is
silent altogether, probe after probe, is given up: requests that wait there for an answer are ended. A worker that comes
back brings room, so every change of a state dispatches. The circuit's table says what a signal changes. A worker that
does not serve is reported again and again (`reminders`), with its address, the reason and what helps.

Each worker has times of its own, a second after the end of its last probe, so that the probes of a large fleet are
spread. Workers at rest, which serve and have no request, get at most `MOST_RESTING_PROBES` a second together: of 250
each is asked every 2.5 seconds.
"""

import asyncio
import math
from collections.abc import Callable, Iterable

from gateway.background import Background, Errands
from gateway.endpoints.failures import WorkerSilent, WorkerUnreachable, evidence_of_failure
from gateway.endpoints.upstream import fetch
from gateway.endpoints.workers import WorkerEndpoint, WorkerEndpoints
from gateway.events import Observer, WorkerChanged, WorkerRemarked
from gateway.watch.models import PROBES_BETWEEN, ask_models, difference
from gateway.watch.reminders import Reminders
from gateway.wire.engine_answer import describe, read_error
from gateway.workers import (
    CircuitState,
    Evidence,
    Fleet,
    Signal,
    Situation,
    Suspect,
    WorkerSnapshot,
    evidence_of,
    judge,
)

PROBE_SECONDS = 1.0
MOST_RESTING_PROBES = 100  # a second; a probe costs 0.2 ms
_LEAST_PAUSE_SECONDS = 0.05  # between two looks at whose probe is due
_PROBE_TIMEOUT_SECONDS = 2.0
SILENT_PROBES = 3  # after so many in a row a worker is given up
_MAX_PROBE_BYTES = 64 * 1024

_ENGINES_LOG = "the engine's own log says more"
_REMEDIES = {
    Evidence.UNREACHABLE: "start the engine there, or correct `url`",
    Evidence.NAMELESS: "correct the host in `url`, or let its name be found from here",
    Evidence.SILENT: "see whether the engine hangs, or a firewall drops what is sent there",
    Evidence.LOCKED: "set the worker's `api_key` to one that the engine takes",
    Evidence.STRANGE: "`url` must lead to an engine that serves the pool's `engine_model`",
}
_NOT_SERVING = (CircuitState.STARTING.value, CircuitState.DOWN.value)


class Health:
    """The health of every worker of the fleet."""

    def __init__(
        self, fleet: Fleet, endpoints: WorkerEndpoints, observer: Observer, dispatch: Callable[[Iterable[str]], None]
    ) -> None:
        """Watch `fleet` through `endpoints`; `dispatch` is called with the pools in which room may have appeared."""
        self._fleet = fleet
        self._endpoints = endpoints
        self._observer = observer
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._differences: dict[str, str] = {}  # by worker: how it differs from the configuration, as last reported
        self._reminders = Reminders()
        # Without this task no worker comes back.
        self._background = Background("worker probes", self._watch, "the probes of the workers broke")
        self._probes = Errands("a worker's probe broke")
        self._due: dict[str, float] = {}  # by worker: when its next probe is due; infinity while one runs

    def report(self, worker: str, signal: Signal, reason: str = "", suspect: Suspect | None = None) -> None:
        """Take in what was seen of `worker`; `suspect` is the request that saw it, if one did."""
        if suspect is None:
            state = self._fleet.signal(worker, signal)
        else:
            state = self._fleet.signal(worker, signal, suspect.tenant, suspect.key if signal is Signal.FAULT else b"")
        if state is None:
            return
        pool = self._fleet.spec(worker).pool
        reason = reason or signal.value
        if self._due.get(worker, math.inf) < math.inf:  # perhaps it rests no more
            self._due[worker] = min(self._due[worker], self._loop.time() + PROBE_SECONDS)
        if state == CircuitState.DOWN.value:
            self._reminders.begin(worker, self._endpoints[worker].url, self._loop.time())
        else:
            self._reminders.end(worker)
        self._observer.observe(WorkerChanged(pool, worker, state, reason))
        self._dispatch((pool,))

    async def probe_all(self) -> None:
        """Probe every worker once, all at the same time; the next probes are spread over a second."""
        specs = self._fleet.specs()
        await asyncio.gather(*(self._probe(spec.name) for spec in specs))
        now = self._loop.time()
        for place, spec in enumerate(specs, 1):
            self._due[spec.name] = now + PROBE_SECONDS * place / len(specs)

    def start(self) -> None:
        """Probe every worker again and again until `stop`."""
        self._background.start()

    def probe_soon(self, worker: str) -> None:
        """Probe a new worker now."""
        self._due[worker] = math.inf
        self._probes.run(f"probe of {worker}", self._probe_in_turn(worker))

    async def stop(self) -> None:
        """End the probes."""
        await self._background.stop()
        await self._probes.stop()

    async def _watch(self) -> None:
        while True:
            now, names = self._loop.time(), [spec.name for spec in self._fleet.specs()]
            self._due = {name: self._due.get(name, now) for name in names}
            for name in names:
                if self._due[name] <= now:
                    self.probe_soon(name)
            pause = min(self._due.values(), default=math.inf) - now
            await asyncio.sleep(min(max(pause, _LEAST_PAUSE_SECONDS), PROBE_SECONDS))

    async def _probe_in_turn(self, worker: str) -> None:
        try:
            await self._probe(worker)
        finally:
            self._due[worker] = self._loop.time() + self._pause_seconds(worker)

    def _pause_seconds(self, worker: str) -> float:
        """How long after a probe the next one is due."""
        view = self._fleet.look(worker)
        if view is None or view.state != CircuitState.SERVING.value or view.sequences_in_flight:
            return PROBE_SECONDS
        return max(PROBE_SECONDS, len(self._due) / MOST_RESTING_PROBES)

    async def _probe(self, worker: str) -> None:
        endpoint = self._endpoints[worker]
        output_at = endpoint.data.progress.output_at
        try:
            answer = await fetch(
                endpoint.control, endpoint.health_request, seconds=_PROBE_TIMEOUT_SECONDS, max_bytes=_MAX_PROBE_BYTES
            )
        except WorkerUnreachable as error:
            is_silent = isinstance(error, WorkerSilent)
            if not is_silent or endpoint.data.progress.output_at == output_at:
                self._judge(worker, endpoint, evidence_of_failure(error), str(error))
                self._count_silence(endpoint, is_silent=is_silent)
            return
        self._count_silence(endpoint, is_silent=False)
        is_good = 200 <= answer.status < 300
        evidence = evidence_of(answer.status, is_answer=is_good, is_of_request=False)
        if is_good:
            reason = f"status {answer.status}"
            evidence, reason = await self._with_models(worker, endpoint, evidence, reason)
        else:
            reason = describe(answer.status, answer.headers, read_error(answer.headers, answer.body))
        self._judge(worker, endpoint, evidence, reason)

    async def _with_models(
        self, worker: str, endpoint: WorkerEndpoint, evidence: Evidence, reason: str
    ) -> tuple[Evidence, str]:
        """The verdict after a good probe: if it is time to ask for models, the worker must serve the pool's too."""
        view = self._fleet.look(worker)
        endpoint.probes_to_models -= 1
        if view is not None and view.state == CircuitState.SERVING.value and endpoint.probes_to_models > 0:
            return evidence, reason
        found, fault = await ask_models(endpoint)
        endpoint.probes_to_models = 0 if fault else PROBES_BETWEEN
        self._endpoints.learned()
        self._report_difference(worker, difference(endpoint, endpoint.pool))
        return (found, fault) if fault else (evidence, reason)

    def _report_difference(self, worker: str, remark: str) -> None:
        """Report once how an engine differs from the configuration, and again if the difference changes."""
        if remark == self._differences.get(worker, ""):
            return
        self._differences = {name: text for name, text in self._differences.items() if name in self._fleet}
        self._differences[worker] = remark
        if remark:
            self._remark(worker, remark)

    def _remark(self, worker: str, remark: str) -> None:
        if worker in self._fleet:
            self._observer.observe(WorkerRemarked(self._fleet.spec(worker).pool, worker, remark))

    def _count_silence(self, endpoint: WorkerEndpoint, *, is_silent: bool) -> None:
        """Count probes in a row without an answer; at `SILENT_PROBES` end the requests that wait for one there."""
        endpoint.silent_probes = endpoint.silent_probes + 1 if is_silent else 0
        if endpoint.silent_probes >= SILENT_PROBES:
            endpoint.data.give_up(f"no answer to {SILENT_PROBES} probes")

    def _judge(self, worker: str, endpoint: WorkerEndpoint, evidence: Evidence, reason: str) -> None:
        """Report what a probe over `endpoint` met, unless its name belongs to another engine by now."""
        signal = judge(Situation.PROBE, evidence).signal
        is_same = worker in self._fleet and self._endpoints[worker].url == endpoint.url
        if signal is not None and is_same:
            self.report(worker, signal, f"probe: {reason}")
            view = self._fleet.look(worker)
            if signal is Signal.PROBE_FAILED and view is not None and view.state in _NOT_SERVING:
                self._remind(view, evidence, reason)

    def _remind(self, view: WorkerSnapshot, evidence: Evidence, reason: str) -> None:
        """Report a worker that does not serve, if a report is due."""
        now, worker = self._loop.time(), view.worker
        if not self._reminders.is_due(worker, view.url, reason, now):
            return
        self._reminders.keep({spec.name for spec in self._fleet.specs()})
        age_seconds = self._reminders.age_seconds(worker, now)
        since = f" for {age_seconds:.0f} s" if age_seconds else ""
        lacks = "has not served yet" if view.state == CircuitState.STARTING.value else "is down"
        remedy = _REMEDIES.get(evidence, _ENGINES_LOG)
        self._remark(worker, f"{lacks}{since} at {view.url}: {reason}; {remedy}")
