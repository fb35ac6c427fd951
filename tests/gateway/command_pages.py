"""The commands as their parsers know them, and the rows that docs/commands.md must have for each."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

import backend.cli
import gateway.cli.commands

PROGRAMS: dict[str, typer.Typer] = {"vtc-gateway": gateway.cli.commands.app, "vtc-backend": backend.cli.app}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""
    for program, app in PROGRAMS.items():
        yield from _below(program, get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child_name, child in children.items():
        yield from _below(f"{name} {child_name}", child)


def heading(name: str, command: Any) -> str:
    """The heading of a command's section: its name and its arguments."""
    return f"## `{' '.join([name, *(_argument(param) for param in _arguments(command))])}`"


def rows(command: Any) -> list[str]:
    """One row for each argument and option."""
    return [
        *(f"| `{_argument(param)}` | {_default(param)} | {param.help} |" for param in _arguments(command)),
        *(f"| `{_option(param)}` | {_default(param)} | {param.help} |" for param in _options(command)),
    ]


def section(name: str, command: Any) -> str:
    """The whole section."""
    lines = [heading(name, command), "", " ".join((command.help or "").split()), ""]
    table = rows(command)
    if table:
        lines += ["| argument or option | default | what it is |", "|---|---|---|", *table, ""]
    return "\n".join(lines)


def _arguments(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "argument"]


def _options(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "option" and param.name != "help"]


def _argument(param: Any) -> str:
    name = param.name.upper()
    name = f"{name}..." if param.nargs == -1 else name
    return name if param.required else f"[{name}]"


def _option(param: Any) -> str:
    return " ".join([*param.opts, *param.secondary_opts])


def _default(param: Any) -> str:
    if param.required:
        return "required"
    default = getattr(param.default, "value", param.default)
    if default is None or default is False or default == () or default == "":
        return ""
    return f"`{default}`"
