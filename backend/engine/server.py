"""The embedded engine as an aiohttp application, and as a listening server.

`make_app` builds everything from one `EngineConfig`; the engine's task starts and ends with the application. `serve`
binds it to an address. Handlers are cancelled when their client leaves: that is how requests are aborted.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hmac import compare_digest
from pathlib import Path

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from backend.engine.api import service
from backend.engine.api.chat import chat_completions
from backend.engine.api.completions import completions
from backend.engine.api.errors import ApiError
from backend.engine.api.frontend import FRONTEND, Frontend
from backend.engine.api.messages import count_tokens, messages
from backend.engine.api.pooling import embeddings, rerank, score
from backend.engine.api.responses import responses
from backend.engine.api.tokens import detokenize, tokenize
from backend.engine.config import EngineConfig
from backend.engine.loop import Engine

ENGINE = web.AppKey("engine", Engine)

# vLLM's VLLM_HTTP_TIMEOUT_KEEP_ALIVE.
KEEP_ALIVE_SECONDS = 5.0
MAX_BODY_BYTES = 64 * 2**20
_GUARDED_PREFIXES = ("/v1", "/v2", "/inference", "/cohere")  # the rest of vLLM is open whatever its key

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return error.response()
    except web.HTTPException as error:
        # What the router itself refuses has no error object: the framework's own `detail`.
        if error.status < 400 or isinstance(error, web.HTTPRequestEntityTooLarge):
            raise
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        body = orjson.dumps({"detail": error.reason})
        return web.Response(status=error.status, body=body, content_type="application/json", headers=allowed)


def _guard(api_key: str) -> Middleware:
    """Refuses what lacks the key, on the paths that vLLM guards."""
    expected = f"Bearer {api_key}".encode()

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path.startswith(_GUARDED_PREFIXES) and not compare_digest(given, expected):
            return web.json_response({"error": "Unauthorized"}, status=401)
        return await handler(request)

    return check


def make_app(config: EngineConfig, exit_process: Callable[[], None] | None = None) -> web.Application:
    """The application; `exit_process` is what an EXIT fault calls, by default the death of the engine alone."""
    guards = [_guard(config.api_key)] if config.api_key else []
    app = web.Application(middlewares=[*guards, _answer_errors], client_max_size=MAX_BODY_BYTES)
    engine = Engine(config, exit_process or (lambda: engine.fail("the engine exited")))
    app[ENGINE] = engine
    app[FRONTEND] = Frontend(engine)
    app.cleanup_ctx.append(_run_engine)
    app.on_response_prepare.append(_sign)
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat_completions),
            web.post("/v1/completions", completions),
            web.post("/v1/responses", responses),
            web.post("/v1/messages", messages),
            web.post("/v1/messages/count_tokens", count_tokens),
            web.post("/v1/embeddings", embeddings),
            web.post("/v1/rerank", rerank),
            web.post("/rerank", rerank),
            web.post("/v1/score", score),
            web.post("/score", score),
            web.post("/tokenize", tokenize),
            web.post("/detokenize", detokenize),
            web.get("/v1/models", service.models),
            web.get("/health", service.health),
            web.get("/ping", service.health),
            web.get("/version", service.version),
            web.get("/load", service.load),
            web.get("/metrics", service.metrics),
            web.get("/metrics/", service.metrics),
            web.get("/witness", service.witness),
            web.post("/faults", service.post_faults),
        ]
    )
    return app


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "uvicorn"
    response.headers["Vary"] = "Origin"


async def _run_engine(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[ENGINE].run(), name="embedded engine")
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def serve(app: web.Application, listener: socket.socket) -> AsyncIterator[str]:
    """Serve `app` on a bound socket while the context lasts; yields the URL."""
    runner = web.AppRunner(
        app, handler_cancellation=True, keepalive_timeout=KEEP_ALIVE_SECONDS, access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield _url(listener)
    finally:
        await runner.cleanup()


def _url(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix://{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bind(host: str, port: int, uds: Path | None = None) -> socket.socket:
    """A listening address: a Unix socket where `uds` is given, else TCP (port 0 picks one)."""
    if uds is not None:
        uds.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(uds))
        return listener
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)
