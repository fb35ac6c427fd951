"""Events of the gateway's own life: it starts (with which configuration), is ready, drains, has stopped."""

from pathlib import Path

from gateway.compilation import IS_COMPILED
from gateway.config import Config
from gateway.events import LifeChanged

STARTING = "starting"
READY = "ready"
DRAINING = "draining"
STOPPED = "stopped"
STORE_FAILS = "the store fails"
STORE_ANSWERS = "the store answers"
GATEWAYS_DISAGREE = "the gateways disagree"
GATEWAYS_AGREE = "the gateways agree"
LEDGER_FAILS = "the ledger fails"
LEDGER_WRITES = "the ledger writes"
DATABASE_FAILS = "the ledger's database fails"
DATABASE_ANSWERS = "the ledger's database answers"
LEDGER_BEHIND = "ledger rows not sent yet"
LEDGER_MOVED = "damaged ledger moved aside"
LEDGER_LOST = "ledger rows lost"
WEBHOOK_FAILS = "the webhook fails"
WEBHOOK_ANSWERS = "the webhook answers"
WEBHOOK_LOST = "webhook events lost"


def starting(config: Config, path: Path, version: str) -> LifeChanged:
    """The gateway starts with `config`, read from `path`."""
    facts: dict[str, object] = {
        "version": version,
        "compiled": IS_COMPILED,
        "configuration": str(path.absolute()),
        "listen": f"{config.listen.host}:{config.listen.port}",
        "pools": {pool.model: [worker.name for worker in pool.workers] for pool in config.pools},
        "tenants": len(config.tenants),
        "policy": str(config.scheduler.policy),
        "predictor": str(config.scheduler.predictor),
    }
    return LifeChanged(STARTING, facts)


def ready(url: str, start_seconds: float) -> LifeChanged:
    """The gateway accepts requests at `url`."""
    return LifeChanged(READY, {"url": url, "start_seconds": round(start_seconds, 3)})


def draining(requests: int, drain_seconds: float) -> LifeChanged:
    """The gateway accepts no more requests; the `requests` that it has may go on for `drain_seconds`."""
    return LifeChanged(DRAINING, {"requests": requests, "drain_seconds": drain_seconds})


def stopped(refused: int, cut: int) -> LifeChanged:
    """The gateway has ended; `refused` requests still waited and were refused, `cut` ones still ran and were cut."""
    return LifeChanged(STOPPED, {"refused": refused, "cut": cut}, is_well=not cut)


def store(reason: str | None) -> LifeChanged:
    """The store of the replicas has begun to fail for `reason`; None: it answers again."""
    if reason is None:
        return LifeChanged(STORE_ANSWERS, {})
    return LifeChanged(STORE_FAILS, {"reason": reason}, is_well=False)


def settings(others: int) -> LifeChanged:
    """So many other gateways of the fleet have settings that must be equal and are not."""
    if not others:
        return LifeChanged(GATEWAYS_AGREE, {})
    return LifeChanged(GATEWAYS_DISAGREE, {"with_other_settings": others}, is_well=False)


def ledger(reason: str | None) -> LifeChanged:
    """The ledger cannot write for `reason`; None: it writes again."""
    if reason is None:
        return LifeChanged(LEDGER_WRITES, {})
    return LifeChanged(LEDGER_FAILS, {"reason": reason}, is_well=False)


def ledger_database(reason: str | None) -> LifeChanged:
    """The database cannot get the ledger's rows for `reason`; None: it gets them again."""
    if reason is None:
        return LifeChanged(DATABASE_ANSWERS, {})
    return LifeChanged(DATABASE_FAILS, {"reason": reason}, is_well=False)


def ledger_behind(rows: int) -> LifeChanged:
    """The gateway ended before so many rows were sent to the database; they are in its file."""
    return LifeChanged(LEDGER_BEHIND, {"rows": rows}, is_well=False)


def ledger_moved(place: Path, reason: str) -> LifeChanged:
    """A damaged file of the ledger is at `place` now, and a new one was begun."""
    return LifeChanged(LEDGER_MOVED, {"to": str(place), "reason": reason}, is_well=False)


def ledger_lost(rows: int) -> LifeChanged:
    """The gateway ended before so many rows could be written."""
    return LifeChanged(LEDGER_LOST, {"rows": rows}, is_well=False)


def webhook(reason: str | None) -> LifeChanged:
    """Events cannot be delivered to the webhook for `reason`; None: they can again."""
    if reason is None:
        return LifeChanged(WEBHOOK_ANSWERS, {})
    return LifeChanged(WEBHOOK_FAILS, {"reason": reason}, is_well=False)


def webhook_lost(events: int) -> LifeChanged:
    """The gateway ended before so many events could be delivered."""
    return LifeChanged(WEBHOOK_LOST, {"events": events}, is_well=False)
