"""Parses the commands of `vtc-gateway usage`; `usage` runs them, and is imported when one of them runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.cli.options import chosen

usage_commands = typer.Typer(help="Tell what the ledger has kept.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="The configuration's file.")]


@usage_commands.callback()
def _usage() -> None:
    """Tell what the ledger has kept."""


@usage_commands.command()
def report(  # noqa: PLR0913 - one parameter for each option
    config: Config = Path("config.yaml"),
    by: Annotated[
        str,
        typer.Option(help="What to add up by: one or several of tenant, key, pool, model, end_user, worker, outcome."),
    ] = "tenant",
    per: Annotated[
        Literal["all", "hour", "day", "month"], typer.Option(help="Periods, by the clock of the time zone.")
    ] = "all",
    zone: Annotated[str, typer.Option(help="Time zone, like Europe/Berlin.")] = "UTC",
    since: Annotated[
        str, typer.Option(help="Beginning, like 2026-11-30 or 2026-11-30T14:15; default: this month's.")
    ] = "",
    until: Annotated[str, typer.Option(help="End, which no longer belongs to it; default: now.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Add up what tenants, keys, models or end users have used."""
    from gateway.cli.usage import UsageOptions
    from gateway.cli.usage import usage as run
    from gateway.ledger.report import Period, Subject

    subjects = tuple(map(Subject, chosen("--by", by, list(Subject))))
    form: Literal["table", "json", "csv"] = "json" if json else "csv" if csv else "table"
    raise typer.Exit(run(UsageOptions(config, subjects, Period(per), zone, since, until, form)))


@usage_commands.command()
def focus(
    config: Config = Path("config.yaml"),
    zone: Annotated[str, typer.Option(help="Time zone of hours and months, like Europe/Berlin.")] = "UTC",
    since: Annotated[
        str, typer.Option(help="Beginning, like 2026-11-30 or 2026-11-30T14:15; default: this month's.")
    ] = "",
    until: Annotated[str, typer.Option(help="End, which no longer belongs to it; default: now.")] = "",
    issuer: Annotated[str, typer.Option(help="Who provides the service and issues the invoice.")] = "vtc-gateway",
) -> None:
    """Print what was used as lines of FOCUS 1.2, for tools that read the costs of clouds."""
    from gateway.cli.usage import UsageOptions
    from gateway.cli.usage import focus as run

    raise typer.Exit(run(UsageOptions(config, zone=zone, since=since, until=until), issuer))


@usage_commands.command()
def audit(
    config: Config = Path("config.yaml"),
    zone: Annotated[str, typer.Option(help="Time zone, like Europe/Berlin.")] = "UTC",
    since: Annotated[
        str, typer.Option(help="Beginning, like 2026-11-30 or 2026-11-30T14:15; default: this month's.")
    ] = "",
    until: Annotated[str, typer.Option(help="End, which no longer belongs to it; default: now.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what rows say of each worker with the tokens that its engine counted itself."""
    from gateway.cli.usage import UsageOptions
    from gateway.cli.usage import audit as run

    options = UsageOptions(config, zone=zone, since=since, until=until, form="json" if json else "table")
    raise typer.Exit(run(options))


@usage_commands.command()
def forget(
    end_user: Annotated[str, typer.Option(help="The end user as clients name it, or its pseudonym in the log.")],
    config: Config = Path("config.yaml"),
) -> None:
    """Remove an end user from every row; its sums stay."""
    from gateway.cli.usage import forget as run

    raise typer.Exit(run(config, end_user))


@usage_commands.command()
def backup(
    to: Annotated[Path, typer.Argument(help="Folder of the copies; what is there is not replaced.")],
    config: Config = Path("config.yaml"),
) -> None:
    """Copy the ledger while gateways write it."""
    from gateway.cli.usage import backup as run

    raise typer.Exit(run(config, to))
