"""The command `supervise`: runs workers from a file and prints for a person, or by orders on stdin and prints JSON."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

from backend.lifetime import die_with_parent, until_told_to_stop
from backend.supervisor.gpus import find_gpus
from backend.supervisor.machine import KEY_VARIABLE, Machine, this_machine
from backend.supervisor.plan import PlanError, WorkerPlan, read_plan
from backend.supervisor.session import callbacks, greeting, obey, standard_input, write_line
from backend.supervisor.supervisor import Supervisor
from backend.supervisor.worker import Status, WorkerCallbacks


def supervise(
    file: Annotated[
        Path | None,
        typer.Argument(help="YAML list of workers; default: read orders from standard input.", show_default=False),
    ] = None,
) -> None:
    """Start workers, watch them and start them again; prints each worker's state and URL."""
    die_with_parent(number=signal.SIGKILL)  # reaches it stopped too; its workers' own parent's death ends them
    # A key of the caller's own, so that it can reach the workers; else one that nobody could guess.
    api_key = os.environ.get(KEY_VARIABLE) or f"vtc-{secrets.token_urlsafe(32)}"
    machine = this_machine(find_gpus(os.environ), api_key)
    try:
        if file is None:
            asyncio.run(_serve_orders(machine))
        else:
            asyncio.run(_run_file(machine, _read_file(file)))
    except (PlanError, OSError, yaml.YAMLError) as fault:
        typer.echo(f"supervise: {fault}", err=True)
        raise typer.Exit(1) from None


def _read_file(file: Path) -> tuple[WorkerPlan, ...]:
    value = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(value, list) or not value:
        raise PlanError(f"{file}: is not a list of workers; write `- {{name: w0, model: byte-llama}}`")
    plans = tuple(read_plan(item) for item in value)
    if len({plan.name for plan in plans}) < len(plans):
        raise PlanError(f"{file}: gives a name twice; give each worker its own")
    return plans


async def _serve_orders(machine: Machine) -> None:
    write_line(greeting(machine))
    supervisor = Supervisor(machine, callbacks(write_line))
    orders = asyncio.create_task(obey(supervisor, await standard_input()), name="orders")
    await _until_done_or_signalled(orders, supervisor)
    if orders.done() and not orders.cancelled():
        orders.result()  # raises what was wrong with them


async def _run_file(machine: Machine, plans: Sequence[WorkerPlan]) -> None:
    typer.echo(f"key {machine.api_key}")
    supervisor = Supervisor(machine, WorkerCallbacks(_report, _repeat))
    for plan in plans:
        supervisor.start(plan)
    await _until_done_or_signalled(None, supervisor)


async def _until_done_or_signalled(orders: "asyncio.Task[None] | None", supervisor: Supervisor) -> None:
    """Wait for the end of the orders or for a signal; then end every worker."""
    signalled = asyncio.create_task(until_told_to_stop(), name="wait for a signal")
    try:
        await asyncio.wait({signalled, orders} if orders else {signalled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        signalled.cancel()
        if orders is not None:
            orders.cancel()
        await supervisor.close()


def _report(status: Status) -> None:
    typer.echo(" ".join(filter(None, (status.worker, status.state, status.url))))
    print(f"[{status.worker}] {status.state}: {status.reason}; {status.engine}", file=sys.stderr, flush=True)  # noqa: T201


def _repeat(worker: str, line: str) -> None:
    print(f"[{worker}] {line}", file=sys.stderr, flush=True)  # noqa: T201 -- standard error is the log
