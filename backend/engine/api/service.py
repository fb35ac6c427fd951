"""Endpoints about the engine: health, version, load, models, metrics, and its own two, witness and faults."""

from typing import Any

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from backend.engine.api.errors import ApiError
from backend.engine.api.frontend import FRONTEND
from backend.engine.faults import Misfortune, parse_faults

VERSION = "0.32.0"


def _json(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")


async def health(request: web.Request) -> web.Response:
    """Liveness of the server, whatever the engine does; an empty 200 as vLLM's."""
    return web.Response()


async def version(request: web.Request) -> web.Response:
    """`{"version"}`."""
    return _json({"version": VERSION})


async def load(request: web.Request) -> web.Response:
    """Requests in flight."""
    return _json({"server_load": request.app[FRONTEND].in_flight})


async def models(request: web.Request) -> web.Response:
    """The model that is served, and its adapters."""
    frontend = request.app[FRONTEND]
    created = int(frontend.engine.config.epoch_seconds)
    permission = {
        "id": f"modelperm-{frontend.fresh_id()}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    card = {
        "id": frontend.engine.config.model,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": frontend.engine.config.model,
        "parent": None,
        "max_model_len": frontend.engine.config.capacity.max_model_len,
        "permission": [permission],
    }
    model = frontend.engine.config.model
    adapters = [card | {"id": name, "root": name, "parent": model} for name in frontend.engine.config.adapters]
    return _json({"object": "list", "data": [card, *adapters]})


async def metrics(request: web.Request) -> web.Response:
    """Every metric; `/metrics/?name[]=...` (with the slash) only the samples named."""
    registry: Any = request.app[FRONTEND].engine.metrics.registry
    names = request.query.getall("name[]", []) if request.path.endswith("/") else []
    shown = registry.restricted_registry(names) if names else registry
    return web.Response(body=generate_latest(shown), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def witness(request: web.Request) -> web.Response:
    """What the engine itself counted."""
    return _json(request.app[FRONTEND].engine.witness.as_json())


async def post_faults(request: web.Request) -> web.Response:
    """Replace the fault script; the count of requests starts anew and a frozen engine thaws."""
    frontend = request.app[FRONTEND]
    try:
        script = parse_faults(await request.read())
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    frontend.misfortune = Misfortune(script)
    frontend.engine.thaw()
    return _json({"faults": len(script.faults)})
