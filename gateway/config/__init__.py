"""The configuration: one YAML file becomes an immutable `Config`, or all its faults are reported at once.

`load` reads and checks the file, at the start and at a reload. `difference` says in words what a reload changes.
Editors and the documentation rely on `json_schema`.
"""

from gateway.config.budgets import BudgetEntry
from gateway.config.choices import (
    BudgetOwner,
    BudgetPeriod,
    BudgetUnit,
    EndUsers,
    EngineOrder,
    ExcessOutput,
    LogFormat,
    LogLevel,
    OnLedgerLoss,
    PolicyName,
    PolicySpec,
    PredictorName,
    PredictorSpec,
    Right,
    ShareBy,
    WithoutStore,
)
from gateway.config.cost import CostSpec, ExpressionCost, KvTimeCost, LinearCost, ProfiledCost
from gateway.config.difference import Difference, difference, in_force, takes_away
from gateway.config.export import json_schema
from gateway.config.faults import ConfigError, Fault
from gateway.config.keys import KeyFormat, digest, write_key_file
from gateway.config.launch import Launch, LaunchEngine
from gateway.config.loading import FileKey, Loaded, ensure_key_files, load
from gateway.config.model import (
    Admin,
    Anonymous,
    Config,
    Ledger,
    Pool,
    Postgres,
    Replicas,
    ResolvedKey,
    Tenant,
    Webhook,
    Worker,
)
from gateway.config.pools import Prices, Timeouts, Window
from gateway.config.schema import Listen, Logs, Metrics, Scheduler
from gateway.config.starter import write_starter
from gateway.config.tenants import Limits

__all__ = [
    "Admin",
    "Anonymous",
    "BudgetEntry",
    "BudgetOwner",
    "BudgetPeriod",
    "BudgetUnit",
    "Config",
    "ConfigError",
    "CostSpec",
    "Difference",
    "EndUsers",
    "EngineOrder",
    "ExcessOutput",
    "ExpressionCost",
    "Fault",
    "FileKey",
    "KeyFormat",
    "KvTimeCost",
    "Launch",
    "LaunchEngine",
    "Ledger",
    "Limits",
    "LinearCost",
    "Listen",
    "Loaded",
    "LogFormat",
    "LogLevel",
    "Logs",
    "Metrics",
    "OnLedgerLoss",
    "PolicyName",
    "PolicySpec",
    "Pool",
    "Postgres",
    "PredictorName",
    "PredictorSpec",
    "Prices",
    "ProfiledCost",
    "Replicas",
    "ResolvedKey",
    "Right",
    "Scheduler",
    "ShareBy",
    "Tenant",
    "Timeouts",
    "Webhook",
    "Window",
    "WithoutStore",
    "Worker",
    "difference",
    "digest",
    "ensure_key_files",
    "in_force",
    "json_schema",
    "load",
    "takes_away",
    "write_key_file",
    "write_starter",
]
