"""Options that commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Engine = Annotated[Literal["embedded", "vllm"], typer.Option(help="Engine behind the gateway: vllm or embedded.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")]
Check = Annotated[bool, typer.Option("--check", help="Exit with 1 if a target is missed, and name each.")]
