"""The way to each worker by name: its port, its key, the model's name there, and what its answers have taught."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.config import EngineOrder, Pool, Worker
from gateway.endpoints.upstream import WorkerPort
from gateway.wire.headers import Upstream
from gateway.workers import WorkerSnapshot

MAX_UTILITY_CONNECTIONS = 32  # to one worker, for requests of tenants that run no model
MAX_OWN_CONNECTIONS = 4  # to one worker: a probe, a reading of its metrics, an confirmation


@dataclass(slots=True)
class WorkerEndpoint:
    """One worker as the exchange sees it; `fingerprint` is what it writes as `system_fingerprint`, None until seen.

    `silent_probes` counts the last probes that nothing answered, `probes_to_models` those until the worker is asked for
    its models again; `max_model_len` is what it told of the pool's, None until it did.
    Requests that run the model go by `data`, so that its bytes are the engine's progress; the tenants' other requests
    by `utility`, and what the gateway asks for itself by `control`, so that neither waits for them.
    """

    url: str
    data: WorkerPort
    utility: WorkerPort
    control: WorkerPort
    upstream: Upstream
    pool: Pool
    engine_order: EngineOrder
    fingerprint: bytes | None = None
    silent_probes: int = 0
    max_model_len: int | None = None
    probes_to_models: int = 0

    @property
    def health_request(self) -> bytes:
        """What asks the worker whether it lives."""
        return self.page_request("/health")

    def page_request(self, path: str) -> bytes:
        """What asks the worker for one of its own pages."""
        return self.upstream.page_lines(path)

    @property
    def ports(self) -> tuple[WorkerPort, WorkerPort, WorkerPort]:
        """All ways to the worker."""
        return self.data, self.utility, self.control


def worker_name(pool: Pool, worker: Worker) -> str:
    """The name of a worker that is unique over all pools: a metric's label, a log line's field."""
    return f"{pool.model}/{worker.name}"


class WorkerEndpoints:
    """Every endpoint by worker name."""

    def __init__(self) -> None:
        """No workers yet."""
        self._endpoints: dict[str, WorkerEndpoint] = {}
        self._lengths: dict[str, int] = {}  # by pool, as long as nothing changes
        self.visits: Counter[str] = Counter()  # requests at each worker that take no room

    def __getitem__(self, worker: str) -> WorkerEndpoint:
        """The endpoint to `worker`."""
        return self._endpoints[worker]

    def configure(self, name: str, url: str, pool: Pool, worker: Worker) -> None:
        """Add a endpoint, or give it the pool's present terms.

        Connections stay unless the URL changed; then what runs at the old one ends there.
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
        upstream = Upstream(ports[0].address.authority, secret)
        new = self._endpoints[name] = WorkerEndpoint(url, *ports, upstream, pool, worker.engine_order, fingerprint)
        is_same = endpoint is not None and endpoint.url == url and endpoint.pool.engine_model == pool.engine_model
        new.max_model_len = endpoint.max_model_len if endpoint is not None and is_same else None
        self._lengths.clear()

    def learned(self) -> None:
        """A worker told its context length: what is known of its pool is reckoned again."""
        self._lengths.clear()

    def max_model_len(self, pool: Pool) -> int:
        """The context length that every worker of `pool` has, as they say; as configured while none does."""
        length = self._lengths.get(pool.model)
        if length is None:
            told = [
                endpoint.max_model_len for endpoint in self._endpoints.values() if endpoint.pool.model == pool.model
            ]
            length = min((each for each in told if each is not None), default=pool.assumed_model_len)
            self._lengths[pool.model] = length
        return length

    def amended(self, fleet: Sequence[WorkerSnapshot]) -> tuple[WorkerSnapshot, ...]:
        """`fleet` with the context length that each worker told."""
        return tuple(
            replace(worker, max_model_len=endpoint.max_model_len)
            if (endpoint := self._endpoints.get(worker.worker)) is not None
            else worker
            for worker in fleet
        )

    def __iter__(self) -> Iterator[str]:
        """Every name."""
        return iter(self._endpoints)

    def forget(self, name: str) -> None:
        """Drop the endpoint to a worker that was removed."""
        for port in self._endpoints.pop(name).ports:
            port.retire()
        del self.visits[name]
        self._lengths.clear()

    def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints.values():
            for port in endpoint.ports:
                port.close()
