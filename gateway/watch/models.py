"""Asks a worker which models it serves and with which context length: at its start, after an outage, now and then.

A worker does not serve the pool if its list lacks the pool's model, or if it answers with something that is no list. A
worker without such a page is believed. The question carries the worker's key, so it also shows whether the worker
accepts the key.
"""

from gateway.config import Pool
from gateway.endpoints.failures import WorkerSilent, WorkerUnreachable, evidence_of_failure
from gateway.endpoints.upstream import fetch
from gateway.endpoints.workers import WorkerEndpoint
from gateway.wire.engine_answer import describe, read_error
from gateway.wire.models_page import read_models
from gateway.workers import Evidence, evidence_of

PROBES_BETWEEN = 30  # probes of a serving worker from one question to the next
MAX_PAGE_BYTES = 1 << 20
_TIMEOUT_SECONDS = 2.0
_WITHOUT_PAGE = frozenset({404, 405, 501})
_MAX_NAMES = 5


async def ask_models(endpoint: WorkerEndpoint) -> tuple[Evidence, str]:
    """What the list of models says of the worker, and a line if that is bad; `endpoint` keeps the context length."""
    try:
        page = endpoint.page_request("/v1/models")
        answer = await fetch(endpoint.control, page, seconds=_TIMEOUT_SECONDS, max_bytes=MAX_PAGE_BYTES)
    except WorkerSilent:
        return Evidence.ANSWERED, ""  # the worker is busy: its health was good a moment ago
    except WorkerUnreachable as error:
        return evidence_of_failure(error), str(error)
    evidence = evidence_of(answer.status, is_answer=answer.status == 200, is_of_request=False)
    if answer.status in _WITHOUT_PAGE or evidence is Evidence.FULL:
        return Evidence.ANSWERED, ""
    if evidence is not Evidence.ANSWERED:
        words = describe(answer.status, answer.headers, read_error(answer.headers, answer.body))
        return evidence, f"its /v1/models answers {words}{_of_key(evidence)}"
    return _judged(endpoint, read_models(answer.body))


def _of_key(evidence: Evidence) -> str:
    return " (it does not accept the worker's api_key)" if evidence is Evidence.LOCKED else ""


def _judged(endpoint: WorkerEndpoint, models: dict[str, int | None] | None) -> tuple[Evidence, str]:
    if models is None:
        return Evidence.STRANGE, "its /v1/models is no list of models: no engine listens there"
    wanted = endpoint.pool.engine_model
    if wanted not in models:
        names = ", ".join(f"`{name[:80]}`" for name in list(models)[:_MAX_NAMES]) or "nothing"
        return Evidence.STRANGE, f"its /v1/models does not list `{wanted}` (engine_model), but {names}"
    endpoint.max_model_len = models[wanted]
    return Evidence.ANSWERED, ""


def difference(endpoint: WorkerEndpoint, pool: Pool) -> str:
    """A sentence if the configuration and the engine differ in the context length; "" if they do not."""
    found, stated = endpoint.max_model_len, pool.max_model_len
    if found is None or stated is None or found == stated:
        return ""
    return f"max_model_len is {stated} in the configuration and {found} at its engine, which counts"
