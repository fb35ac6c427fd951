"""What is told of the gateway's own life: that it starts and with what, is ready, drains, has stopped."""

from pathlib import Path

from gateway.compilation import IS_COMPILED
from gateway.config import Config
from gateway.events import LifeChanged

STARTING = "starting"
READY = "ready"
DRAINING = "draining"
STOPPED = "stopped"


def starting(config: Config, path: Path, version: str) -> LifeChanged:
    """It begins to start with `config`, read from `path`."""
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
    """It takes requests at `url`."""
    return LifeChanged(READY, {"url": url, "start_seconds": round(start_seconds, 3)})


def draining(requests: int, drain_seconds: float) -> LifeChanged:
    """It takes no more; the `requests` that it has may go on for `drain_seconds`."""
    return LifeChanged(DRAINING, {"requests": requests, "drain_seconds": drain_seconds})


def stopped(refused: int, cut: int) -> LifeChanged:
    """It has ended: so many requests waited to the last and were `refused`, so many ran to the last and were `cut`."""
    return LifeChanged(STOPPED, {"refused": refused, "cut": cut}, is_well=not cut)
