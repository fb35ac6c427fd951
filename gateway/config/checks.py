"""Checks the rules that concern several keys of the file: a name that is used must exist, an identifier must be unique.

The checks work on a draft, so that these faults are reported together with those of the schema.
"""

from collections.abc import Iterable, Iterator

from gateway.config.address import endpoint_of
from gateway.config.budget_checks import budget_findings
from gateway.config.choices import EngineOrder, PolicyName
from gateway.config.cost import ExpressionCost, LinearCost, ProfiledCost
from gateway.config.draft import Draft
from gateway.config.expression import parse
from gateway.config.faults import FaultLog, Path, nearest
from gateway.config.launch import Launch, refused_arguments
from gateway.config.model import ANY_MODEL
from gateway.config.pools import PoolEntry, Window, WorkerEntry


def check(draft: Draft, faults: FaultLog) -> None:
    """Note every broken rule in `faults`."""
    for path, message, remedy in _findings(draft):
        faults.add(draft.origin(path), message, remedy)


Finding = tuple[Path, str, str]


def _findings(draft: Draft) -> Iterator[Finding]:
    yield from _required(draft)
    yield from _bodies(draft)
    yield from _model_names(draft)
    for index, pool in enumerate(draft.file.pools):
        yield from _pool(("pools", index), pool, draft)
    yield from _fallbacks(draft)
    yield from _worker_urls(draft)
    yield from _tenants(draft)
    yield from _anonymous(draft)
    yield from _shared_policy(draft)
    yield from _store(draft)
    yield from _admin(draft)
    yield from budget_findings(draft)


def _required(draft: Draft) -> Iterator[Finding]:
    if not draft.file.pools and draft.is_whole(("pools",)):
        yield ("pools",), "is missing or empty", "add a pool with its `model` and `workers`"
    if not draft.file.tenants and draft.is_whole(("tenants",)):
        yield ("tenants",), "is missing or empty", "add a tenant with its `name` and `keys`"


def _bodies(draft: Draft) -> Iterator[Finding]:
    listen = draft.file.listen
    if listen.max_bodies_mib is not None and listen.max_bodies_mib < 2 * listen.max_body_mib:
        yield (
            ("listen", "max_bodies_mib"),
            f"is {listen.max_bodies_mib}, too little for two bodies of `max_body_mib` ({listen.max_body_mib})",
            f"use at least {2 * listen.max_body_mib}: a tenant's one body must not take all from the others",
        )


def _repeated(named: Iterable[tuple[Path, str]], what: str, remedy: str) -> Iterator[Finding]:
    """A finding for each name that an earlier place already has."""
    first: dict[str, Path] = {}
    for path, name in named:
        if name in first:
            yield path, f"{what} `{name}` is given twice", remedy
        first.setdefault(name, path)


def _model_names(draft: Draft) -> Iterator[Finding]:
    named: list[tuple[Path, str]] = []
    for index, pool in enumerate(draft.file.pools):
        named.append((("pools", index, "model"), pool.model))
        named += [(("pools", index, "aliases", place), alias) for place, alias in enumerate(pool.aliases)]
        named += [(("pools", index, "adapters", place, "name"), each.name) for place, each in enumerate(pool.adapters)]
    yield from _repeated(named, "the model or alias", "each name may lead to one pool only")
    for path, name in named:
        if name == ANY_MODEL:
            yield path, "`*` stands for all models", "name the model"


def _pool(path: Path, pool: PoolEntry, draft: Draft) -> Iterator[Finding]:
    if not pool.workers and draft.is_whole((*path, "workers")):
        yield (*path, "workers"), "is missing or empty", "add at least one worker: `- url: http://host:port`"
    yield from _window((*path, "window"), pool.window, pool.engine_order)
    yield from _cost((*path, "cost"), pool)
    yield from _adapters(path, pool)
    for index, worker in enumerate(pool.workers):
        yield from _worker((*path, "workers", index), worker, pool)
    named: list[tuple[Path, str]] = [
        ((*path, "workers", index, "name"), name)
        for index, names in enumerate(pool.worker_names)
        for name in sorted(set(names))
    ]
    yield from _repeated(named, "the worker name", "give each worker of a pool its own name")


def _window(path: Path, window: Window, order: EngineOrder) -> Iterator[Finding]:
    if order is EngineOrder.VTC:
        if window.express:
            yield (*path, "express"), "is for engines that do not order their own queue", "remove it"
        return  # the engine orders everything that waits in it, so the window may have any size
    sequences = window.fixed_sequences
    if sequences is not None and window.slack >= sequences:
        yield (
            (*path, "slack"),
            f"is {window.slack}, but must be less than `sequences` ({sequences})",
            f"use `slack: {min(1, sequences - 1)}`",
        )


def _cost(path: Path, pool: PoolEntry) -> Iterator[Finding]:
    match pool.cost:
        case LinearCost(input_weight=0, output_weight=0):
            yield path, "makes every request free", "give `input_weight` or `output_weight` more than 0"
        case ProfiledCost() as cost if cost.a == cost.b == cost.c == cost.d == cost.e == 0:
            yield path, "makes every request free", "give one of a, b, c, d, e more than 0"
        case ExpressionCost(expression=expression):
            try:
                parse(expression)
            except ValueError as error:
                yield (
                    (*path, "expression"),
                    f"cannot be a cost: {error}",
                    "see `cost` in docs/configuration.md",
                )


def _adapters(path: Path, pool: PoolEntry) -> Iterator[Finding]:
    is_launched = any(worker.launch is not None and worker.launch.engine != "embedded" for worker in pool.workers)
    for index, adapter in enumerate(pool.adapters):
        if is_launched and adapter.path is None:
            yield (
                (*path, "adapters", index),
                "has no `path`, and the gateway launches workers that must load it",
                "add the folder of the adapter as `path`",
            )
        if "=" in adapter.name:
            yield (*path, "adapters", index, "name"), "has `=` in it, which vLLM's option cannot carry", "rename it"


def _fallbacks(draft: Draft) -> Iterator[Finding]:
    pools = {pool.model: pool for pool in draft.file.pools}
    for index, pool in enumerate(draft.file.pools):
        path: Path = ("pools", index, "fallback")
        if pool.fallback is None:
            continue
        if pool.fallback not in pools:
            if draft.is_whole(("pools",)):
                yield path, f"`{pool.fallback}` is not a pool's model", _instead(pool.fallback, list(pools))
        elif _comes_back(pool, pools):
            yield path, f"leads back to `{pool.model}`", "let the last pool of the chain have no `fallback`"


def _comes_back(start: PoolEntry, pools: dict[str, PoolEntry]) -> bool:
    """True if the chain of fallbacks that begins at `start` comes back to it."""
    seen: set[str] = set()
    pool: PoolEntry | None = start
    while pool is not None and pool.model not in seen:
        seen.add(pool.model)
        pool = None if pool.fallback is None else pools.get(pool.fallback)
    return pool is start


def _worker(path: Path, worker: WorkerEntry, pool: PoolEntry) -> Iterator[Finding]:
    if (worker.url is None) == (worker.launch is None):
        both = "has both `url` and `launch`" if worker.url else "has neither `url` nor `launch`"
        yield path, both, "give exactly one of the two"
    if worker.window is not None:
        window = pool.window.model_copy(update=worker.window.model_dump(exclude_none=True))
        order = (worker.launch.engine_order if worker.launch is not None else None) or pool.engine_order
        yield from _window((*path, "window"), window, order)
    if worker.launch is not None:
        yield from _launch(path, worker, worker.launch)


def _launch(path: Path, worker: WorkerEntry, launch: Launch) -> Iterator[Finding]:
    if worker.api_key:
        yield (*path, "api_key"), "is given to a launched worker, which gets a key of its own", "remove it"
    if worker.name and launch.count > 1:
        yield (*path, "name"), f"names {launch.count} workers at once", "remove it or use `count: 1`"
    if launch.gpus > 1 and not launch.gpus.is_integer():
        yield (
            (*path, "launch", "gpus"),
            f"is {launch.gpus:g}, neither a share of one GPU nor a whole number of them",
            f"use {int(launch.gpus)}",
        )
    for index, flag, reason in refused_arguments(launch.arguments):
        yield (*path, "launch", "arguments", index), f"`{flag}` is not for you to set: {reason}", "remove it"


def _worker_urls(draft: Draft) -> Iterator[Finding]:
    named: list[tuple[Path, str]] = [
        (("pools", index, "workers", place, "url"), worker.url)
        for index, pool in enumerate(draft.file.pools)
        for place, worker in enumerate(pool.workers)
        if worker.url is not None
    ]
    first: dict[str, str] = {}
    for path, url in named:
        endpoint = endpoint_of(url)
        if (other := first.get(endpoint)) is not None:
            again = f"the worker `{url}` is given twice" + ("" if other == url else f", first as `{other}`")
            yield path, again, "list each engine once: its window and its tenants' shares are counted in one pool"
        first.setdefault(endpoint, url)


def _tenants(draft: Draft) -> Iterator[Finding]:
    tenants = draft.file.tenants
    names: list[tuple[Path, str]] = [(("tenants", i, "name"), tenant.name) for i, tenant in enumerate(tenants)]
    yield from _repeated(names, "the tenant", "give each tenant its own name")
    for index, tenant in enumerate(tenants):
        ids: list[tuple[Path, str]] = [
            (("tenants", index, "keys", place, "id"), key.id or f"key{place + 1}")
            for place, key in enumerate(tenant.keys)
        ]
        yield from _repeated(ids, "the key id", "give each key of a tenant its own `id`")
    if not draft.is_whole(("pools",)):
        return
    known = [
        name
        for pool in draft.file.pools
        for name in (pool.model, *pool.aliases, *(adapter.name for adapter in pool.adapters))
    ]
    lists: list[tuple[Path, tuple[str, ...]]] = [(("tenant_defaults", "models"), draft.file.tenant_defaults.models)]
    lists += [(("tenants", index, "models"), tenant.models) for index, tenant in enumerate(tenants)]
    for path, models in lists:
        for place, model in enumerate(models):
            if model != ANY_MODEL and model not in known:
                yield (
                    (*path, place),
                    f"`{model}` is neither a pool's model nor an alias or adapter",
                    _instead(model, known),
                )


def _anonymous(draft: Draft) -> Iterator[Finding]:
    anonymous, known = draft.file.anonymous, [tenant.name for tenant in draft.file.tenants]
    if anonymous.enabled and anonymous.tenant is None:
        yield (
            ("anonymous", "tenant"),
            "is missing",
            "name the tenant that requests without a credential run as",
        )
    if anonymous.tenant is not None and anonymous.tenant not in known and draft.is_whole(("tenants",)):
        yield (
            ("anonymous", "tenant"),
            f"`{anonymous.tenant}` is not a tenant",
            _instead(anonymous.tenant, known),
        )


def _shared_policy(draft: Draft) -> Iterator[Finding]:
    file = draft.file
    policy = file.scheduler.policy.name
    sharing = ["`replicas`"] * (file.replicas is not None) + ["`processes`"] * (file.processes != 1)
    if policy is not PolicyName.VTC and sharing:
        yield (
            ("scheduler", "policy"),
            f"is `{policy.value}`, which one gateway alone can follow: gateways share an account by `vtc` only",
            f"use `vtc`, or remove {' and '.join(sharing)}",
        )


def _store(draft: Draft) -> Iterator[Finding]:
    replicas = draft.file.replicas
    if replicas is None:
        return
    path: Path = ("replicas",)
    if (replicas.certificate_file is None) != (replicas.key_file is None):
        given, missing = ("certificate_file", "key_file")[:: 1 if replicas.key_file is None else -1]
        yield (*path, missing), f"is missing, and `{given}` needs it", f"add `{missing}`, or remove `{given}`"
    for name in ("ca_file", "certificate_file", "key_file"):
        if getattr(replicas, name) is not None and not replicas.store.startswith("rediss://"):
            yield (*path, name), "is for a store with TLS, and `store` has none", "write `rediss://` in `store`"


def _instead(name: str, known: list[str]) -> str:
    close = nearest(name, known)
    return f"did you mean `{close}`?" if close else f"known here: {', '.join(known[:20]) or 'none'}"


def _admin(draft: Draft) -> Iterator[Finding]:
    file = draft.file
    if file.admin.listen is None:
        return
    if file.admin.key is None:
        yield ("admin", "listen"), "needs `admin.key`", "make one with `vtc-gateway keys create admin`"
    if file.processes != 1:
        reason = "is not 1, and `admin.listen` is for one gateway process"
        yield ("processes",), reason, "use `processes: 1`, or leave `admin.listen` out"
