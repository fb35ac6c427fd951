"""Warns of settings that are valid but probably not meant: a tenant without keys, a public key, a name for several.

The command `check` shows the warnings; the gateway logs them at the start and at a reload. The configuration takes
effect all the same.
"""

import hashlib
from collections.abc import Iterator
from ipaddress import ip_address

from gateway.config.draft import Draft
from gateway.config.faults import FaultLog, Path
from gateway.config.replicas import ReplicasEntry

_EXAMPLE_ZEROS = 48  # the digests of examples begin with so many zeros (of 64 digits); no key's digest does
_EMPTY = hashlib.sha256(b"").hexdigest()
_MAKE_ONE = "make a key with `vtc-gateway keys create`"


def warn(draft: Draft, faults: FaultLog) -> None:
    """Note every warning in `faults`."""
    for path, message, remedy in _cautions(draft):
        faults.warn(draft.origin(path), message, remedy)


def _cautions(draft: Draft) -> Iterator[tuple[Path, str, str]]:
    file = draft.file
    nobody = file.anonymous.tenant if file.anonymous.enabled else None
    if nobody is not None and not _is_loopback(file.listen.host):
        reason = f"lets everybody who reaches {file.listen.host} use the models without a key"
        yield ("anonymous", "enabled"), reason, "use keys, or `listen.host: 127.0.0.1`"
    if not file.tenant_defaults.models:
        yield ("tenant_defaults", "models"), "is empty: tenants may use no model", "remove it, or name models"
    for index, tenant in enumerate(file.tenants):
        path: Path = ("tenants", index)
        if not tenant.keys and tenant.name != nobody and draft.is_whole((*path, "keys")):
            yield (*path, "keys"), f"has no key: nobody can be the tenant `{tenant.name}`", _MAKE_ONE
        if "models" in tenant.model_fields_set and not tenant.models and draft.is_whole((*path, "models")):
            yield (
                (*path, "models"),
                f"is empty: the tenant `{tenant.name}` may use no model",
                "remove it, or name models",
            )
        for place, key in enumerate(tenant.keys):
            if key.sha256 is not None and _is_example(key.sha256):
                yield (*path, "keys", place, "sha256"), "is an example, which fits no key", _MAKE_ONE
    if file.admin.key is not None and file.admin.key.sha256 is not None and _is_example(file.admin.key.sha256):
        yield ("admin", "key", "sha256"), "is an example, which fits no key", _MAKE_ONE
    if file.replicas is not None:
        yield from _about_replicas(draft, file.replicas)


def _about_replicas(draft: Draft, replicas: ReplicasEntry) -> Iterator[tuple[Path, str, str]]:
    if replicas.name is not None and draft.file.listen.port == 0:
        reason = f"is `{replicas.name}` for every gateway that reads this file, and port 0 lets several do so at once"
        yield ("replicas", "name"), reason, "remove it: then each is called by its host and port; or use `${VAR}`"
    for index, pool in enumerate(draft.file.pools):
        for place, worker in enumerate(pool.workers):
            if worker.launch is not None:
                reason = "starts workers that no other gateway of the fleet reaches, and the fleet counts them by name"
                yield ("pools", index, "workers", place, "launch"), reason, "give workers with a `url` to a fleet"


def _is_example(digest: str) -> bool:
    return digest.startswith("0" * _EXAMPLE_ZEROS) or digest == _EMPTY or len(set(digest)) == 1


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
