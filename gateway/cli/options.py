"""Options that commands share."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import typer

Engine = Annotated[Literal["embedded", "vllm"], typer.Option(help="Engine behind the gateway: vllm or embedded.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")]
Check = Annotated[bool, typer.Option("--check", help="Exit with 1 if a target is missed, and name each.")]


def chosen(option: str, names: str, known: Collection[str]) -> tuple[str, ...]:
    """The comma-separated `names`; raises `typer.BadParameter` if one is not in `known`."""
    found = tuple(name.strip() for name in names.split(",") if name.strip())
    if unknown := [name for name in found if name not in known]:
        raise typer.BadParameter(f"{', '.join(unknown)}: choose among {', '.join(known)}", param_hint=option)
    return found
