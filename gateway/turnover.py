"""What a reload changes, worked out beside the event loop; the root takes it over in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config, ConfigError, Loaded, Tenant, difference, in_force
from gateway.events import ConfigReloaded
from gateway.proxy.directory import Directory


@dataclass(frozen=True, slots=True)
class Turnover:
    """The result of a reload: the event to report, the configuration in force, and what was worked out from it."""

    notice: ConfigReloaded
    config: Config
    changed_tenants: Sequence[Tenant]
    directory: Directory
    removed_tenants: frozenset[str] = frozenset()


def turnover(old: Config, loaded: Loaded | ConfigError, path: Path, directory: Directory) -> Turnover:
    """What `loaded`, read again from `path`, changes in `old`, which `directory` serves; changes nothing itself."""
    if isinstance(loaded, ConfigError):
        faults = tuple(str(fault) for fault in loaded.faults)
        return Turnover(ConfigReloaded(str(path), faults, (), ()), old, (), directory)
    found, config = difference(old, loaded.config), in_force(old, loaded.config)
    warnings = tuple(str(warning) for warning in loaded.warnings)
    notice = ConfigReloaded(str(path), (), found.changes, found.needs_restart, warnings)
    known = {tenant.name: tenant for tenant in old.tenants}
    changed = tuple(tenant for tenant in config.tenants if known.get(tenant.name) != tenant)
    removed = known.keys() - {tenant.name for tenant in config.tenants}
    return Turnover(notice, config, changed, Directory(config, directory.salt_secret), frozenset(removed))
