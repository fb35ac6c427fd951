"""The command line of the workers: one program, one subcommand for each way to run an engine.

It registers the subcommands and nothing else; each command lives with the engine that it runs. Every server
command prints exactly one line on standard output when it can serve, `ready URL`; logs go to standard error. The
supervisor starts those commands.
"""

import typer

from backend.calibrate import calibrate
from backend.engine.cli import embedded
from backend.supervisor.cli import supervise
from backend.vllm.cli import model, vllm

app = typer.Typer(name="vtc-backend", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("embedded")(embedded)
app.command("vllm")(vllm)
app.command("model")(model)
app.command("calibrate")(calibrate)
app.command("supervise")(supervise)


@app.callback()
def backend() -> None:
    """Run engines for the gateway: the embedded engine or real vLLM."""


def main() -> None:
    """Entry point of `vtc-backend` and `python -m backend`."""
    app()
