"""Watches the workers: probes each, takes in what requests met, and tells everybody of a change.

A probe is `GET /health`, the engine's word that its server lives; that its requests succeed is only seen by requests.
Now and then, and as long as the worker does not serve, it must list the pool's model too (`models`).
An engine under load may send its streams on and leave a probe without an answer: such silence says nothing against it.
One that is silent altogether, probe after probe, does not live: requests that wait there for their answer are told.
A worker that comes back gives room, so a change to serving dispatches. What a signal changes is the circuit's table.
One that does not serve, since its start or since it went down, is told of again and again (`reminders`), with its
address, the reason and what helps.
"""

import asyncio
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
_PROBE_TIMEOUT_SECONDS = 2.0
SILENT_PROBES = 3  # in a row, after which a worker is known not to live
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
    """Health of every worker of the fleet."""

    def __init__(
        self, fleet: Fleet, endpoints: WorkerEndpoints, observer: Observer, dispatch: Callable[[Iterable[str]], None]
    ) -> None:
        """Watch `fleet` through `endpoints`; `dispatch` is told the pools in which room may have appeared."""
        self._fleet = fleet
        self._endpoints = endpoints
        self._observer = observer
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._differences: dict[str, str] = {}  # from the configuration, as they were told
        self._reminders = Reminders()
        # Without probes no worker comes back.
        self._background = Background("worker probes", self._watch, "the probes of the workers broke")
        self._first_probes = Errands("a worker's first probe broke")

    def report(self, worker: str, signal: Signal, reason: str = "", case: Suspect | None = None) -> None:
        """Take in what was seen of `worker`, by the request `case` if by any."""
        if case is None:
            state = self._fleet.signal(worker, signal)
        else:
            state = self._fleet.signal(worker, signal, case.tenant, case.key if signal is Signal.FAULT else b"")
        if state is None:
            return
        pool = self._fleet.spec(worker).pool
        reason = reason or signal.value
        if state == CircuitState.DOWN.value:
            self._reminders.begin(worker, self._endpoints[worker].url, self._loop.time())
        else:
            self._reminders.end(worker)
        self._observer.observe(WorkerChanged(pool, worker, state, reason))
        self._dispatch((pool,))

    async def probe_all(self) -> None:
        """Probe every worker once, all at the same time."""
        await asyncio.gather(*(self._probe(spec.name) for spec in self._fleet.specs()))

    def start(self) -> None:
        """Probe on, once a second, until `stop`."""
        self._background.start()

    def probe_soon(self, worker: str) -> None:
        """Probe a worker that has just come, without waiting for its turn."""
        self._first_probes.run(f"first probe of {worker}", self._probe(worker))

    async def stop(self) -> None:
        """End the probes."""
        await self._first_probes.stop()
        await self._background.stop()

    async def _watch(self) -> None:
        while True:
            await self.probe_all()
            await asyncio.sleep(PROBE_SECONDS)

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
        """What a good probe is worth: where it is time for that, the worker must serve the pool's model too."""
        view = self._fleet.look(worker)
        endpoint.probes_to_models -= 1
        if view is not None and view.state == CircuitState.SERVING.value and endpoint.probes_to_models > 0:
            return evidence, reason
        found, fault = await ask_models(endpoint)
        endpoint.probes_to_models = 0 if fault else PROBES_BETWEEN
        self._endpoints.learned()
        self._tell_difference(worker, difference(endpoint, endpoint.pool))
        return (found, fault) if fault else (evidence, reason)

    def _tell_difference(self, worker: str, remark: str) -> None:
        """Tell where the configuration and an engine differ, once, and again where that is another."""
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
        """Probes in a row that nothing answered mean that the worker does not live: what has not begun there ends."""
        endpoint.silent_probes = endpoint.silent_probes + 1 if is_silent else 0
        if endpoint.silent_probes >= SILENT_PROBES:
            endpoint.data.give_up(f"no answer to {SILENT_PROBES} probes")

    def _judge(self, worker: str, endpoint: WorkerEndpoint, evidence: Evidence, reason: str) -> None:
        """Report what a probe over `endpoint` met, unless the name is another engine's by now."""
        signal = judge(Situation.PROBE, evidence).signal
        is_same = worker in self._fleet and self._endpoints[worker].url == endpoint.url
        if signal is not None and is_same:
            self.report(worker, signal, f"probe: {reason}")
            view = self._fleet.look(worker)
            if signal is Signal.PROBE_FAILED and view is not None and view.state in _NOT_SERVING:
                self._remind(view, evidence, reason)

    def _remind(self, view: WorkerSnapshot, evidence: Evidence, reason: str) -> None:
        """Tell of a worker that does not serve, where that is due."""
        now, worker = self._loop.time(), view.worker
        if not self._reminders.is_due(worker, view.url, reason, now):
            return
        self._reminders.keep({spec.name for spec in self._fleet.specs()})
        age_seconds = self._reminders.age_seconds(worker, now)
        since = f" for {age_seconds:.0f} s" if age_seconds else ""
        lacks = "has not served yet" if view.state == CircuitState.STARTING.value else "is down"
        remedy = _REMEDIES.get(evidence, _ENGINES_LOG)
        self._remark(worker, f"{lacks}{since} at {view.url}: {reason}; {remedy}")
