"""The commands of `vtc-gateway`: each is parsed here and carried out by its own module, imported when it runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway import __version__

app = typer.Typer(
    name="vtc-gateway",
    help="Fairness-aware gateway in front of LLM engines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="Make keys for tenants.", no_args_is_help=True)
bench = typer.Typer(help="Measure fairness and isolation against an engine.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(bench, name="bench")

Engine = Annotated[Literal["embedded", "vllm"], typer.Option(help="Engine behind the gateway: vllm or embedded.")]
Policy = Annotated[Literal["vtc", "fcfs", "lcf", "rpm", "drr"], typer.Option(help="The policy held to the targets.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")]
Check = Annotated[bool, typer.Option("--check", help="Exit with 1 and name each target that was missed.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vtc-gateway {__version__}")
        raise typer.Exit


@app.callback()
def gateway(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fairness-aware gateway in front of LLM engines."""


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="The configuration's file.")] = Path("config.yaml"),
    port: Annotated[int | None, typer.Option(help="Listen on this port instead of the configured one.")] = None,
    create_keys: Annotated[
        bool, typer.Option("--create-keys", help="Create the key files that are missing, and print every key.")
    ] = False,
    announce: Annotated[
        bool, typer.Option("--announce", help="Print one line, `ready URL`, instead of the greeting.")
    ] = False,
) -> None:
    """Run the gateway."""
    from gateway.serve import ServeOptions
    from gateway.serve import serve as run

    raise typer.Exit(run(ServeOptions(config, port, create_keys, announce)))


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Configuration files.")]) -> None:
    """Check configurations and name every fault with its line and remedy."""
    from gateway.cli_check import check as run

    raise typer.Exit(run(files))


@keys.callback()
def _keys() -> None:
    """Make keys for tenants."""


@keys.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Who the key is for.")],
    file: Annotated[Path | None, typer.Option(help="Write the key to this file instead of keeping its digest.")] = None,
) -> None:
    """Make a key, print it once, and say what to write into the configuration."""
    from gateway.cli_keys import create as run

    raise typer.Exit(run(tenant, file))


@app.command()
def demo(
    policy: Annotated[
        Literal["vtc", "fcfs"], typer.Option(help="Who goes next: vtc, or fcfs to see what happens without.")
    ] = "vtc",
    seconds: Annotated[float, typer.Option(help="How long it runs.", min=5)] = 30.0,
    plot: Annotated[Path, typer.Option(help="Where to write the picture.")] = Path("demo.png"),
    engine: Engine = "embedded",
) -> None:
    """Let a flood and two modest tenants loose, and watch who gets how much."""
    from evaluation.bench.demo import DemoOptions, run
    from evaluation.bench.stage import EngineKind

    raise typer.Exit(run(DemoOptions(policy=policy, seconds=seconds, plot=plot, engine=EngineKind(engine))))


@bench.command()
def fairness(
    engine: Engine = "embedded",
    policy: Policy = "vtc",
    seconds: Annotated[float, typer.Option(help="Measured window of each scenario.", min=1)] = 60.0,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds with and without the gateway.", min=1)] = 5,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Equal shares, weights, short against long answers, and what it costs in throughput."""
    from evaluation.bench.fairness import FairnessOptions, run
    from evaluation.bench.stage import EngineKind

    options = FairnessOptions(
        engine=EngineKind(engine), policy=policy, seconds=seconds, rounds=rounds, json_file=json, check=check
    )
    raise typer.Exit(run(options))


@bench.command()
def isolation(
    engine: Engine = "embedded",
    policy: Policy = "vtc",
    seconds: Annotated[float, typer.Option(help="Measured window of each way.", min=1)] = 60.0,
    rounds: Annotated[int, typer.Option(help="Parts that the window is cut into, interleaved.", min=1)] = 3,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """A modest tenant beside a flood: how long it waits, and its time to first token."""
    from evaluation.bench.isolation import IsolationOptions, run
    from evaluation.bench.stage import EngineKind

    options = IsolationOptions(
        engine=EngineKind(engine), policy=policy, seconds=seconds, rounds=rounds, json_file=json, check=check
    )
    raise typer.Exit(run(options))


def main() -> None:
    """Entry point of `vtc-gateway` and `python -m gateway`."""
    app()
