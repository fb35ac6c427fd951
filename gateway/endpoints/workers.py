"""The endpoint of each worker by name: its connections, its key, its pool, and what its answers have shown."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.config import EngineOrder, Pool, Worker
from gateway.endpoints.upstream import WorkerPort
from gateway.wire.headers import RequestHeadTemplate
from gateway.workers import WorkerSnapshot

MAX_UTILITY_CONNECTIONS: Final = 32  # to one worker, for tenants' requests that run no model
MAX_OWN_CONNECTIONS: Final = 4  # to one worker: a probe, a reading of its metrics, a confirmation of its death


@dataclass(slots=True)
class WorkerEndpoint:
    """The ways to one worker, and what is known of it.

    Requests that run the model use `data`, so that all output there is the engine's progress. The tenants' other
    requests use `utility`. What the gateway itself asks uses `control`, so that it waits for neither of them.
    `fingerprint` is what the worker writes as `system_fingerprint`, None until seen. `silent_probes` counts the latest
    probes in a row without an answer, `probes_to_models` the probes until the worker is asked for its models again.
    `max_model_len` is the context length (tokens) that the worker reports for the pool's model, None until it does.
    """

    url: str
    data: WorkerPort
    utility: WorkerPort
    control: WorkerPort
    upstream: RequestHeadTemplate
    pool: Pool
    engine_order: EngineOrder
    fingerprint: bytes | None = None
    silent_probes: int = 0
    max_model_len: int | None = None
    probes_to_models: int = 0

    @property
    def health_request(self) -> bytes:
        """The bytes of a request that asks the worker for its health."""
        return self.page_request("/health")

    def page_request(self, path: str) -> bytes:
        """The bytes of a request for one of the worker's own pages."""
        return self.upstream.page_lines(path)

    @property
    def ports(self) -> tuple[WorkerPort, WorkerPort, WorkerPort]:
        """All three ports of the worker."""
        return self.data, self.utility, self.control


def worker_name(pool: Pool, worker: Worker) -> str:
    """A worker's name, unique over all pools: the label in metrics and the field in log lines."""
    return f"{pool.model}/{worker.name}"


class WorkerEndpoints:
    """Every endpoint by worker name."""

    def __init__(self) -> None:
        """Start without workers."""
        self._endpoints: dict[str, WorkerEndpoint] = {}
        self._lengths: dict[str, int] = {}  # context length by pool, dropped when a worker changes
        self.visits: Counter[str] = Counter()  # by worker: requests there that take no room

    def __getitem__(self, worker: str) -> WorkerEndpoint:
        """The endpoint to `worker`."""
        return self._endpoints[worker]

    def configure(self, name: str, url: str, pool: Pool, worker: Worker) -> None:
        """Add an endpoint, or bring it to what the configuration says.

        Its connections stay unless the address changed; then requests at the old address end there.
        """
        endpoint = self._endpoints.get(name)
        port = WorkerPort(url)
        utility = WorkerPort(url, MAX_UTILITY_CONNECTIONS, port.host)
        ports = port, utility, WorkerPort(url, MAX_OWN_CONNECTIONS, port.host)
        if endpoint is not None and endpoint.data.address == ports[0].address:
            ports = endpoint.ports
        elif endpoint is not None:
            for old in endpoint.ports:
                old.retire()
        secret = None if worker.api_key is None else worker.api_key.get_secret_value()
        fingerprint = endpoint.fingerprint if endpoint is not None and endpoint.url == url else None
        upstream = RequestHeadTemplate(ports[0].address.authority, secret)
        new = self._endpoints[name] = WorkerEndpoint(url, *ports, upstream, pool, worker.engine_order, fingerprint)
        is_same = endpoint is not None and endpoint.url == url and endpoint.pool.engine_model == pool.engine_model
        new.max_model_len = endpoint.max_model_len if endpoint is not None and is_same else None
        self._lengths.clear()

    def learned(self) -> None:
        """Compute the pools' context lengths again, because a worker has reported its own."""
        self._lengths.clear()

    def max_model_len(self, pool: Pool) -> int:
        """The shortest context length (tokens) that a worker of `pool` reports; as configured while none reports."""
        length = self._lengths.get(pool.model)
        if length is None:
            reported = [
                endpoint.max_model_len for endpoint in self._endpoints.values() if endpoint.pool.model == pool.model
            ]
            length = min((each for each in reported if each is not None), default=pool.assumed_model_len)
            self._lengths[pool.model] = length
        return length

    def amended(self, fleet: Sequence[WorkerSnapshot]) -> tuple[WorkerSnapshot, ...]:
        """`fleet` with the context length that each worker reports."""
        return tuple(
            replace(worker, max_model_len=endpoint.max_model_len)
            if (endpoint := self._endpoints.get(worker.worker)) is not None
            else worker
            for worker in fleet
        )

    def __iter__(self) -> Iterator[str]:
        """The name of every worker."""
        return iter(self._endpoints)

    def forget(self, name: str) -> None:
        """Drop the endpoint of a worker that was removed."""
        for port in self._endpoints.pop(name).ports:
            port.retire()
        del self.visits[name]
        self._lengths.clear()

    def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints.values():
            for port in endpoint.ports:
                port.close()
