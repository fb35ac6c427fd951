"""Makes the configuration in force from a file that is right: merges defaults, lists workers, digests keys.

Paths of files are relative to the configuration's folder. A key file or password file that cannot be read is a fault at
the key that names it. Clients' plain keys are dropped in `_digest`.
"""

from collections.abc import Mapping
from pathlib import Path as File

from pydantic import SecretStr

from gateway.config import model
from gateway.config.address import is_unproven, refused_database
from gateway.config.credentials import KeySource, WorkerKey
from gateway.config.draft import Draft
from gateway.config.faults import FaultLog, Path
from gateway.config.keys import CREATE_KEY, KeyFormat, UnusableKeyFile, digest, exposure, read_key_file
from gateway.config.ledger import LedgerEntry, PostgresEntry
from gateway.config.pools import PoolEntry, Window, WindowOverride, WorkerEntry
from gateway.config.replicas import ReplicasEntry
from gateway.config.surroundings import Surroundings
from gateway.config.tenants import Limits, TenantDefaults, TenantEntry, TenantKey
from gateway.config.webhook import MAKE_SECRET, WebhookEntry, signing_key


class Resolver:
    """Builds one `Config`; `files` are the key files on which it depends."""

    def __init__(self, draft: Draft, folder: File, surroundings: Surroundings, faults: FaultLog) -> None:
        self.files: list[File] = []
        self._draft = draft
        self._folder = folder
        self._surroundings = surroundings
        self._faults = faults
        self._owners: dict[bytes, str] = {}

    def config(self) -> model.Config:
        """The configuration; use it only if no fault was noted."""
        file = self._draft.file
        admin = self._digest(file.admin.key, ("admin", "key"), "admin.key") if file.admin.key else None
        return model.Config(
            listen=file.listen,
            admin=model.Admin(digest=admin, listen=file.admin.listen),
            scheduler=file.scheduler,
            pools=tuple(self._pool(pool, ("pools", index)) for index, pool in enumerate(file.pools)),
            tenants=tuple(self._tenant(entry, ("tenants", index)) for index, entry in enumerate(file.tenants)),
            anonymous=model.Anonymous(tenant=file.anonymous.tenant if file.anonymous.enabled else None),
            metrics=file.metrics,
            logs=file.logs,
            ledger=self._ledger(file.ledger, ("ledger",)) if file.ledger else None,
            webhook=self._webhook(file.webhook, ("webhook",)) if file.webhook else None,
            processes=file.processes,
            replicas=self._replicas(file.replicas, ("replicas",)) if file.replicas else None,
        )

    def _ledger(self, entry: LedgerEntry, path: Path) -> model.Ledger:
        postgres = self._postgres(entry.postgres, (*path, "postgres")) if entry.postgres else None
        return model.Ledger(
            folder=self._folder / entry.folder,
            rows_days=entry.rows_days,
            quarters_days=entry.quarters_days,
            end_users=entry.end_users,
            currency=entry.currency,
            postgres=postgres,
        )

    def _postgres(self, entry: PostgresEntry, path: Path) -> model.Postgres:
        kind = self._only({"url_env": entry.url_env, "url_file": entry.url_file}, path, "address")
        url = None if kind is None else self._address(entry, (*path, kind))
        ca_file = self._certificate(entry.ca_file, (*path, "ca_file"))
        return model.Postgres(url=url or "", ca_file=ca_file, rows_days=entry.rows_days)

    def _address(self, entry: PostgresEntry, path: Path) -> str | None:
        if entry.url_env is not None:
            url = self._variable(entry.url_env, path)
        else:
            assert entry.url_file is not None
            url = self._file(
                entry.url_file, path, "address", "create it, mode 0600, with the address alone in one line"
            )
        if url is not None and (refusal := refused_database(url)) is not None:
            self._fault(path, *refusal)
        elif url is not None and entry.ca_file is None and is_unproven(url):
            reason = "leads to a database on another machine that need not prove who it is"
            remedy = "name its authority in `ca_file`, or end the address with `?sslmode=verify-full`"
            self._faults.warn(self._draft.origin(path), reason, remedy)
        return url

    def _webhook(self, entry: WebhookEntry, path: Path) -> model.Webhook | None:
        given = {"secret_env": entry.secret_env, "secret_file": entry.secret_file}
        kind = self._only(given, path)
        if kind is None:
            return None
        if entry.secret_env is not None:
            text = self._variable(entry.secret_env, (*path, kind))
        else:
            assert entry.secret_file is not None
            to_create = f"create it: (umask 077; {MAKE_SECRET} > FILE)"
            text = self._file(entry.secret_file, (*path, kind), "secret", to_create)
        if text is None:
            return None
        try:
            return model.Webhook(url=entry.url, secret=signing_key(text))
        except ValueError as error:
            self._fault((*path, kind), f"leads to a secret that {error}", f"make one with `{MAKE_SECRET}`")
            return None

    def _replicas(self, entry: ReplicasEntry, path: Path) -> model.Replicas:
        return model.Replicas(
            store=entry.store,
            username=entry.username or "",
            password=self._password(entry, path),
            ca_file=self._certificate(entry.ca_file, (*path, "ca_file")),
            certificate_file=self._certificate(entry.certificate_file, (*path, "certificate_file")),
            key_file=self._certificate(entry.key_file, (*path, "key_file")),
            fleet=entry.fleet,
            name=entry.name,
            expected=entry.expected,
            lease_seconds=entry.lease_seconds,
            without_store=entry.without_store,
        )

    def _password(self, entry: ReplicasEntry, path: Path) -> str | None:
        given = {"password_env": entry.password_env, "password_file": entry.password_file}
        if not any(given.values()) or self._only(given, path) is None:
            return None
        if entry.password_env is not None:
            return self._variable(entry.password_env, (*path, "password_env"))
        assert entry.password_file is not None
        to_create = "create it, mode 0600, with the password alone in one line"
        return self._file(entry.password_file, (*path, "password_file"), "password", to_create)

    def _certificate(self, name: str | None, path: Path) -> File | None:
        if name is None:
            return None
        file = self._folder / name
        if self._surroundings.is_complete and not _is_readable(file):
            self._fault(path, f"names the file {file}, which cannot be read", "name a file that the gateway may read")
        return file

    def _pool(self, pool: PoolEntry, path: Path) -> model.Pool:
        workers: list[model.Worker] = []
        for index, (entry, names) in enumerate(zip(pool.workers, pool.worker_names, strict=True)):
            workers += self._workers(entry, names, pool, (*path, "workers", index))
        return model.Pool(
            model=pool.model,
            engine_model=pool.engine_model or pool.model,
            aliases=pool.aliases,
            adapters=pool.adapters,
            fallback=pool.fallback,
            max_model_len=pool.max_model_len,
            locality_quantum=pool.locality_quantum,
            cost=pool.cost,
            prices=pool.prices,
            window=pool.window,
            timeouts=pool.timeouts,
            workers=tuple(workers),
        )

    def _workers(self, entry: WorkerEntry, names: tuple[str, ...], pool: PoolEntry, path: Path) -> list[model.Worker]:
        window, order = _overridden(pool.window, entry.window), pool.engine_order
        if entry.launch is not None:
            order = entry.launch.engine_order or order
            # A worker is the same whether it has two siblings or three.
            launch = entry.launch.model_copy(update={"count": 1})
            return [model.Worker(name=name, launch=launch, window=window, engine_order=order) for name in names]
        key = self._worker_key(entry.api_key, (*path, "api_key")) if entry.api_key else None
        return [
            model.Worker(name=name, url=entry.url, api_key=key, window=window, engine_order=order) for name in names
        ]

    def _tenant(self, entry: TenantEntry, path: Path) -> model.Tenant:
        keys = [self._key(key, index, entry.name, path) for index, key in enumerate(entry.keys)]
        merged = _merged(self._draft.file.tenant_defaults, entry)
        return model.Tenant(
            name=entry.name,
            keys=tuple(key for key in keys if key is not None),
            weight=merged.weight,
            models=merged.models,
            share_by=merged.share_by,
            end_user_header=merged.end_user_header,
            budgets=merged.budgets,
            limits=merged.limits,
            allow=merged.allow,
            strict=merged.strict,
        )

    def _key(self, key: TenantKey, index: int, tenant: str, path: Path) -> model.ResolvedKey | None:
        found = self._digest(key, (*path, "keys", index), f"tenant {tenant}")
        if found is None:
            return None
        return model.ResolvedKey(id=key.id or f"key{index + 1}", digest=found, disabled=key.disabled)

    def _digest(self, source: KeySource, path: Path, owner: str) -> bytes | None:
        given = {"sha256": source.sha256, "env": source.env, "file": source.file}
        kind = self._only(given, path)
        if kind is None:
            return None
        if source.sha256 is not None:
            return self._owned(bytes.fromhex(source.sha256), (*path, kind), owner)
        key = self._read(source, path)
        if key is None:
            return None
        if not KeyFormat.matches(key):
            self._fault((*path, kind), "leads to a text that is not a key", "make one with `vtc-gateway keys create`")
            return None
        return self._owned(digest(key), (*path, kind), owner)

    def _owned(self, found: bytes, path: Path, owner: str) -> bytes | None:
        if found in self._owners:
            self._fault(path, f"is the same key as one of {self._owners[found]}", "make a key for each use")
            return None
        self._owners[found] = owner
        return found

    def _worker_key(self, source: WorkerKey, path: Path) -> SecretStr | None:
        given = {"value": source.value, "env": source.env, "file": source.file}
        kind = self._only(given, path)
        if kind is None:
            return None
        key = source.value.get_secret_value() if source.value else self._read(source, path)
        if key is None:
            return None
        if not key.isascii() or not key.isprintable() or " " in key:
            self._fault((*path, kind), "leads to a text that no header can carry", "use printable ASCII, no spaces")
            return None
        return SecretStr(key)

    def _only(self, given: Mapping[str, object], path: Path, what: str = "key") -> str | None:
        """The one kind of source that is given; None, with a fault, if there are several or none."""
        kinds = [kind for kind, value in given.items() if value is not None]
        if len(kinds) == 1:
            return kinds[0]
        known = ", ".join(f"`{kind}`" for kind in given)
        if kinds:
            self._fault(path, f"has {' and '.join(f'`{kind}`' for kind in kinds)}", f"give exactly one of {known}")
        else:
            self._fault(path, f"does not say where the {what} comes from", f"give one of {known}")
        return None

    def _read(self, source: KeySource | WorkerKey, path: Path) -> str | None:
        if source.env is not None:
            return self._variable(source.env, (*path, "env"))
        assert source.file is not None
        return self._file(source.file, (*path, "file"))

    def _variable(self, name: str, path: Path) -> str | None:
        secret = self._surroundings.variables.get(name, "").strip()
        if not secret and self._surroundings.is_complete:
            self._fault(path, f"names the environment variable {name}, which is not set", "set it")
        return secret or None

    def _file(self, name: str, path: Path, what: str = "key", to_create: str = CREATE_KEY) -> str | None:
        place = self._folder / name
        self.files.append(place)
        if not self._surroundings.is_complete and not place.exists():
            return None
        try:
            secret = read_key_file(place, what, to_create)
        except UnusableKeyFile as error:
            self._fault(path, str(error), error.remedy)
            return None
        if (exposed := exposure(place)) is not None:
            self._faults.warn(self._draft.origin(path), exposed, f"chmod o-r {place}")
        return secret

    def _fault(self, path: Path, message: str, remedy: str) -> None:
        self._faults.add(self._draft.origin(path), message, remedy)


def _is_readable(file: File) -> bool:
    try:
        with file.open("rb"):
            return True
    except (OSError, ValueError):
        return False


def _overridden(window: Window, override: WindowOverride | None) -> Window:
    return window.model_copy(update=override.model_dump(exclude_none=True)) if override else window


def _merged(defaults: TenantDefaults, entry: TenantEntry) -> TenantDefaults:
    """The defaults, overridden by what the tenant states; its limits are merged key by key."""
    stated = {name: getattr(entry, name) for name in entry.model_fields_set if name in TenantDefaults.model_fields}
    if "limits" in stated:
        own: Limits = entry.limits
        stated["limits"] = defaults.limits.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )
    return defaults.model_copy(update=stated)
