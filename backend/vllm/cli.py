"""The commands `vllm` and `model`: options to values, faults to one line and exit status 1."""

import asyncio
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from backend.lifetime import EndWithParent, die_with_parent
from backend.vllm.engine_order import EngineOrder, OrderError, check_order
from backend.vllm.launch import MODEL_CACHE, LaunchError, VllmLaunch, find_python, has_gpu, reserve_port, run, say
from backend.vllm.models import BYTE_LLAMA, SMOLLM2, ModelError, model_folder, write_byte_llama, write_smollm2

_TOLD_TO_STOP = 128 + signal.SIGTERM

PythonOption = Annotated[
    Path | None,
    typer.Option(
        help="Interpreter that has vLLM; default: $VTC_VLLM_PYTHON, ./.venv-vllm, the current one.",
        show_default=False,
    ),
]


class BuiltInModel(StrEnum):
    """Models that this program can make."""

    BYTE_LLAMA = BYTE_LLAMA
    SMOLLM2 = SMOLLM2


def vllm(  # noqa: PLR0913 - each is an option
    model: Annotated[str, typer.Option(help="byte-llama, smollm2 or a model folder.")] = BYTE_LLAMA,
    host: Annotated[str, typer.Option(help="Address to listen on; keep it private.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port.")] = 0,
    python: PythonOption = None,
    engine_order: Annotated[
        EngineOrder, typer.Option(help="Order of vLLM's own queue; vtc: by `vtc_tenant` in a request's vllm_xargs.")
    ] = EngineOrder.FCFS,
    start_seconds: Annotated[float, typer.Option(help="Give up if vLLM is not ready by then.")] = 600.0,
    end_with_parent: EndWithParent = False,
    extra: Annotated[list[str] | None, typer.Argument(help="Arguments for vLLM, after `--`.")] = None,
) -> None:
    """Run real vLLM; prints `ready URL` on standard output when it can serve."""
    if end_with_parent:
        die_with_parent(number=signal.SIGKILL)  # it may stand still; vLLM gets SIGTERM then, its guard sees to the rest
    _clean_up_when_told_to_stop()
    try:
        interpreter = find_python(python, os.environ)
        check_order(engine_order, interpreter)
        folder = model_folder(model, MODEL_CACHE, interpreter, say)
        with reserve_port(host, port) as reservation:
            bound_port = reservation.getsockname()[1]
            own, is_gpu = tuple(extra or ()), has_gpu(interpreter)
            launch = VllmLaunch(interpreter, model, folder, host, bound_port, own, is_gpu, engine_order)
            asyncio.run(run(launch, start_seconds))
    except (LaunchError, ModelError, OrderError) as fault:
        say(str(fault))
        raise typer.Exit(1) from None


def model(
    name: Annotated[BuiltInModel, typer.Argument(help="Which model.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    python: PythonOption = None,
) -> None:
    """Write a model folder that vLLM can serve."""
    _clean_up_when_told_to_stop()
    try:
        match name:
            case BuiltInModel.BYTE_LLAMA:
                write_byte_llama(folder)
            case BuiltInModel.SMOLLM2:
                write_smollm2(folder, find_python(python, os.environ), say)
    except (LaunchError, ModelError) as fault:
        say(str(fault))
        raise typer.Exit(1) from None
    say(f"{name} is in {folder}")


def _clean_up_when_told_to_stop() -> None:
    """SIGTERM ends a download or a conversion as Ctrl-C does: no child and no half folder is left."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(_TOLD_TO_STOP))
