"""`backend embedded`: options to an `EngineConfig`, and the server process around it.

The server is imported when it runs, because a supervisor, which has this command too, does without.
"""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from backend.engine.config import EngineConfig
from backend.engine.core import EngineCapacity, Policy
from backend.engine.faults import FaultScript, load_faults
from backend.engine.profile import load_profile
from backend.lifetime import EndWithParent, die_with_parent, until_told_to_stop

FAULTS_VARIABLE = "VTC_EMBEDDED_FAULTS"


def embedded(  # noqa: PLR0913 -- one parameter for each option
    profile: Annotated[str, typer.Option(help="Speed and sizes: a file of backend/engine/profiles.")] = "cpu-tiny",
    model: Annotated[str, typer.Option(help="Model name to serve.")] = "tiny",
    adapter: Annotated[list[str] | None, typer.Option(help="Further model name, served as a LoRA adapter.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 0,
    uds: Annotated[Path | None, typer.Option(help="Unix socket instead of host and port.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="Sequences in one step.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="Tokens in one step.")] = None,
    kv_blocks: Annotated[int | None, typer.Option(help="Blocks of the KV cache.")] = None,
    block_size: Annotated[int | None, typer.Option(help="Tokens in one block.")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="Context length in tokens.")] = None,
    max_num_queued_reqs: Annotated[int | None, typer.Option(help="Sequences in the engine before 503.")] = None,
    scheduling_policy: Annotated[Policy, typer.Option(help="Order of the waiting queue.")] = Policy.FCFS,
    faults: Annotated[Path | None, typer.Option(help="JSON file of scripted faults.", envvar=FAULTS_VARIABLE)] = None,
    seed: Annotated[int, typer.Option(help="Seed of texts and lengths.")] = 0,
    end_with_parent: EndWithParent = False,
) -> None:
    """Run the embedded engine: vLLM's API and scheduling without a GPU."""
    import uvloop

    sizes = {
        "max_num_seqs": max_num_seqs,
        "max_num_batched_tokens": max_num_batched_tokens,
        "num_blocks": kv_blocks,
        "block_size": block_size,
        "max_model_len": max_model_len,
    }
    try:
        chosen = load_profile(profile)
        config = EngineConfig(
            model=model,
            adapters=tuple(adapter or ()),
            profile=chosen,
            capacity=_resized(chosen.capacity, sizes, scheduling_policy),
            max_num_queued_reqs=max_num_queued_reqs,
            seed=seed,
            faults=load_faults(faults) if faults else FaultScript(),
            api_key=os.environ.get("VLLM_API_KEY", ""),
        )
        if end_with_parent:
            die_with_parent(number=signal.SIGKILL)
        uvloop.run(_run(config, host, port, uds))
    except (ValueError, OSError) as error:
        typer.echo(f"embedded engine: {error}", err=True)
        raise typer.Exit(2) from error


def _resized(capacity: EngineCapacity, sizes: dict[str, int | None], policy: Policy) -> EngineCapacity:
    given = {name: size for name, size in sizes.items() if size is not None}
    return replace(capacity.resized(given), policy=policy)


async def _run(config: EngineConfig, host: str, port: int, uds: Path | None) -> None:
    from backend.engine.server import bind, make_app, serve

    epoch = time.time() - asyncio.get_running_loop().time()
    app = make_app(replace(config, epoch_seconds=epoch), exit_process=lambda: os._exit(1))
    async with serve(app, bind(host, port, uds)) as url:
        typer.echo(f"ready {url}")
        await until_told_to_stop()
