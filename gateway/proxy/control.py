"""The gateway's own pages: alive, ready, metrics, models, state. Nothing here reaches a worker."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

import orjson

from gateway.clients.downstream import WholeAnswer
from gateway.clients.refusal import JSON_TYPE
from gateway.config import Pool
from gateway.outcomes import Outcome
from gateway.proxy.directory import Identity
from gateway.telemetry.families import CONTENT_TYPE
from gateway.watch.outages import Readiness
from gateway.wire.errors import RequestFault
from gateway.wire.target import MODELS

_NO_MODEL = "This model does not exist or this key may not use it. GET /v1/models lists the models of this key."
_NO_POOL = "There is no pool of this name: 'pool' takes a pool's `model` as the configuration has it."
_BEST_FIRST = tuple(Readiness)
_NO_ADMIN = "This page needs the admin key (admin.key in the configuration) as 'Authorization: Bearer <key>'."


@dataclass(frozen=True, slots=True)
class Availability:
    """How ready each pool is, and whether this gateway drains; `processes` says it of each, if there are several."""

    pools: Mapping[str, Readiness]
    is_draining: bool
    processes: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the pages get their contents; `app` binds these functions."""

    metrics: Callable[[], Awaitable[Sequence[bytes] | None]]
    state: Callable[[], Awaitable[dict[str, object]]]
    availability: Callable[[], Awaitable[Availability]]
    started_at: int
    max_model_len: Callable[[Pool], int]


class Control:
    """Answers the GET paths."""

    def __init__(self, pages: Pages) -> None:
        """Serve `pages`."""
        self._pages = pages

    async def health(self) -> WholeAnswer:
        """Answer 200 as long as the process can answer at all."""
        return _json({"status": "ok"})

    async def ready(self, query: str) -> WholeAnswer:
        """Answer 200 if some pool has a worker that serves, or has just lost it and lets requests wait; else 503.

        The body lists every pool. Each `pool=NAME` in `query` names a pool: the status is then that of the worst pool
        named. Raises `RequestFault` (404) for a pool that does not exist.
        """
        availability = await self._pages.availability()
        found = availability.pools
        asked = parse_qs(query, keep_blank_values=True).get("pool", [])
        for name in asked:
            if name not in found:
                raise RequestFault(Outcome.UNKNOWN_MODEL, _NO_POOL, "pool")
        body: dict[str, object] = {"pools": {name: readiness.value for name, readiness in found.items()}}
        if availability.processes is not None:
            body["processes"] = availability.processes
        if availability.is_draining:
            return _json({"status": "draining"} | body, status=503)
        among = max if asked else min  # the worst of the pools that are named, else the best of all
        status = among((found[name] for name in asked or found), key=_BEST_FIRST.index)
        is_ready = status not in (Readiness.NO_WORKER, Readiness.NO_STORE)
        return _json({"status": status.value} | body, status=200 if is_ready else 503)

    async def metrics(self) -> WholeAnswer:
        """The metrics in Prometheus' text format; raises `RequestFault` (404) if metrics are off."""
        pieces = await self._pages.metrics()
        if pieces is None:
            raise RequestFault(Outcome.UNKNOWN_PATH, "Metrics are turned off (metrics.enabled).")
        return WholeAnswer(200, b"", [("Content-Type", CONTENT_TYPE)], more=pieces)

    async def debug_state(self, *, is_admin: bool) -> WholeAnswer:
        """The whole state as JSON, for the holder of the admin key."""
        if not is_admin:
            raise RequestFault(Outcome.UNAUTHENTICATED, _NO_ADMIN)
        return _json(await self._pages.state())

    def models(self, identity: Identity, path: str) -> WholeAnswer:
        """The models, adapters and aliases that a tenant may use, or the one that `path` names."""
        cards = {name: self._card(name, pool) for name, pool in identity.models.items()}
        if path == MODELS:
            return _json({"object": "list", "data": list(cards.values())})
        card = cards.get(unquote(path.removeprefix(f"{MODELS}/")))
        if card is None:
            raise RequestFault(Outcome.UNKNOWN_MODEL, _NO_MODEL, "model")
        return _json(card)

    def _card(self, name: str, pool: Pool) -> dict[str, object]:
        """The card of a model. An adapter has the pool's model as its parent; an alias names the pool's model."""
        return {
            "id": name,
            "object": "model",
            "created": self._pages.started_at,
            "owned_by": "vtc-gateway",
            "root": name if name in pool.adapter_names else pool.model,
            "parent": None if name == pool.model else pool.model,
            "max_model_len": self._pages.max_model_len(pool),
        }


def _json(value: object, status: int = 200) -> WholeAnswer:
    return WholeAnswer(status, orjson.dumps(value), [JSON_TYPE])
