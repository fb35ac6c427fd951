"""Workers that the gateway starts itself: the keys of `launch`, and the vLLM arguments that are refused there.

An argument is refused if another key of the file sets it, if it would open the engine to others, if it would break fair
queuing or metering, or if it would put prompts into the log. The engine's own parser accepts `_` for `-`, and
abbreviations, so both are refused too. Left to the supervisor, which is another program: starting the workers.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from gateway.config.choices import EngineOrder
from gateway.config.section import Count, Quantity, Section, live

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")

_ADDRESS = "the supervisor chooses the address, on loopback"
_PRIVATE = "only the gateway may reach the worker"
_PROMPTS = "it would write prompts into the log"
REFUSED = {
    "--host": _ADDRESS,
    "--port": _ADDRESS,
    "--uds": _ADDRESS,
    "--grpc": _PRIVATE,
    "--grpc-port": _PRIVATE,
    "--root-path": _ADDRESS,
    "--ssl-keyfile": "the gateway speaks plain HTTP to its workers",
    "--ssl-certfile": "the gateway speaks plain HTTP to its workers",
    "--api-key": "the supervisor draws a key for each run",
    "--config": "it would hide arguments from this check",
    "--model": "write `launch.model`",
    "--served-model-name": "write the pool's `engine_model`",
    "--max-model-len": "write the pool's `max_model_len`",
    "--max-num-seqs": "write `window.sequences`",
    "--max-num-active-seqs": "write `window.sequences`",
    "--max-num-batched-tokens": "write `window.prefill_tokens`",
    "--max-num-scheduled-tokens": "write `window.prefill_tokens`",
    "--max-num-queued-reqs": "the supervisor sets it to twice the window, as a second line of defence",
    "--max-num-queued-tokens": "the window bounds what is queued in the engine",
    "--tensor-parallel-size": "write `launch.gpus`",
    "--pipeline-parallel-size": "write `launch.gpus`, which runs tensor parallel",
    "--device-ids": "write `launch.gpus`: the supervisor chooses them",
    "--data-parallel-size": "write `launch.count`: every engine has a window of its own",
    "--headless": "the worker would have no server",
    "--tokens-only": "the worker would not serve the APIs that clients use",
    "--scheduler-cls": "write `launch.engine_order`",
    "--scheduling-policy": "the engine would freeze a priority at arrival, which is measured unfair",
    "--stream-interval": "running usage would come late, and with it every charge",
    "--enable-lora": "write the pool's `adapters`",
    "--lora-modules": "write the pool's `adapters`",
    "--sse-keep-alive-interval": "a worker that stands still would seem to move",
    "--disable-log-stats": "the engine would have no metrics",
    "--enable-log-requests": _PROMPTS,
    "--enable-log-outputs": _PROMPTS,
}
# The supervisor sets these values itself, so repeating them changes nothing.
_HARMLESS = {"--scheduling-policy": "fcfs", "--stream-interval": "1", "--sse-keep-alive-interval": "0"}


class LaunchEngine(StrEnum):
    """The engine that a launched worker runs."""

    AUTO = "auto"
    VLLM = "vllm"
    EMBEDDED = "embedded"


def _variable(text: SecretStr) -> SecretStr:
    if not _VARIABLE.match(text.get_secret_value()):
        raise PydanticCustomError(
            "refused", "{message}", {"message": "is not a variable", "remedy": "write `NAME=value`"}
        )
    return text


# A value may be a token for a hub of models, so it is never shown.
Variable = Annotated[SecretStr, AfterValidator(_variable)]


class Launch(Section):
    """Workers that the gateway starts, watches and starts again."""

    engine: LaunchEngine = live(
        LaunchEngine.AUTO,
        "`auto` and `vllm`: vLLM, on GPUs if there are any, else its build for processors; `embedded`: a model of an "
        "engine that needs no GPU and invents its answers, for trying things out.",
    )
    model: str | None = live(
        None,
        "What vLLM loads: `byte-llama`, `smollm2`, a model folder or a name in the cache of the Hugging Face hub; "
        "default: the pool's `engine_model`.",
        min_length=1,
    )
    profile: str = live(
        "cpu-tiny",
        "Speed of the embedded engine: `cpu-tiny`, `instant`, `a10g-llama2-7b`, `h100-llama3-8b`.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )
    count: Count = live(1, "Number of workers.", unit="workers", ge=1, le=64)
    gpus: Quantity = live(
        1,
        "GPUs of each worker: below 1, a share of one GPU's memory; 2 and more run tensor parallel. It has no effect "
        "on a machine without GPUs.",
        unit="GPUs",
        gt=0,
        le=64,
    )
    engine_order: EngineOrder | None = live(
        None, "Order of vLLM's own queue: `fcfs` or `vtc` (docs/engine-order.md); default: the pool's `engine_order`."
    )
    arguments: tuple[str, ...] = live((), "Further arguments for vLLM.", max_length=200)
    environment: tuple[Variable, ...] = live((), "Environment of the workers, as `NAME=value`.", max_length=200)
    start_seconds: Quantity = live(
        600, "Time a worker has to load its model before it is started again.", unit="seconds", gt=0, le=86400
    )
    drain_seconds: Quantity = live(
        600, "Time that running requests get to finish before their worker is replaced.", unit="seconds", ge=0, le=86400
    )
    max_failed_starts: Annotated[int, Field(ge=1, le=1_000_000)] | None = live(
        None, "Failed starts in a row after which the gateway gives a worker up; null: never.", unit="starts"
    )


def refused_arguments(arguments: tuple[str, ...]) -> Iterator[tuple[int, str, str]]:
    """The position, the flag and the reason of each argument that is refused."""
    for index, argument in enumerate(arguments):
        given, _, value = argument.partition("=")
        if not given.startswith("--") or len(given) < 3:
            continue
        given = given.replace("_", "-")
        value = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
        for flag, reason in REFUSED.items():
            if flag.startswith(given) and _HARMLESS.get(flag) != value:
                yield index, flag, reason
                break
