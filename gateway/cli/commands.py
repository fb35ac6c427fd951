"""Parses the commands of `vtc-gateway`; each is run by its own module, which is imported when it runs."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway import __version__
from gateway.cli.bench import bench
from gateway.cli.options import Check, Engine, JsonFile, chosen
from gateway.cli.usage_commands import usage_commands
from gateway.compilation import IS_COMPILED

app = typer.Typer(
    name="vtc-gateway",
    help="Fairness-aware gateway in front of LLM engines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="Make keys for tenants.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(usage_commands, name="usage")
app.add_typer(bench, name="bench")

Format = Annotated[
    Literal["auto", "csv", "jsonl", "gateway-log"],
    typer.Option("--format", help="Format of a trace; auto looks at its first line."),
]
Seed = Annotated[
    int | None, typer.Option(help="Seed for drawing the workload anew; default: the workload's own, 1.", min=0)
]
Until = Annotated[float | None, typer.Option("--seconds", help="Use only the first seconds of it.", min=0.001)]


MOST_PROCESSES = 256


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vtc-gateway {__version__}{' (compiled)' if IS_COMPILED else ''}")
        raise typer.Exit


def _number_of_processes(text: str | None) -> str | None:
    if text is None or text == "auto" or (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PROCESSES):
        return text
    raise typer.BadParameter(f"{text} is neither auto nor a number from 1 to {MOST_PROCESSES}")


@app.callback()
def gateway(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fairness-aware gateway in front of LLM engines."""


@app.command()
def init(
    config: Annotated[Path, typer.Argument(help="Where to write the configuration.")] = Path("config.yaml"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing configuration. Key files stay as they are.")
    ] = False,
) -> None:
    """Write a commented configuration and the keys of its tenants; its engines need no GPU."""
    from gateway.cli.init import init as run

    raise typer.Exit(run(config, force=force))


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="The configuration's file.")] = Path("config.yaml"),
    port: Annotated[int | None, typer.Option(help="Listen on this port instead of the configured one.")] = None,
    create_keys: Annotated[
        bool, typer.Option("--create-keys", help="Create missing key files, and print every key.")
    ] = False,
    announce: Annotated[
        bool, typer.Option("--announce", help="Print one line, `ready URL`, instead of the greeting.")
    ] = False,
    processes: Annotated[
        str | None,
        typer.Option(
            help="Run so many gateway processes; auto: one for each core.",
            metavar="N|auto",
            callback=_number_of_processes,
        ),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Replace the gateway that runs with this configuration, without a gap."),
    ] = False,
) -> None:
    """Run the gateway."""
    from gateway.cli.serve import ServeOptions
    from gateway.cli.serve import serve as run

    raise typer.Exit(run(ServeOptions(config, port, create_keys, announce, processes, take_over)))


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Configuration files.")],
    no_environment: Annotated[
        bool, typer.Option("--no-environment", help="Accept variables and key files that are missing here.")
    ] = False,
) -> None:
    """Check configurations and print every fault with its line and a remedy."""
    from gateway.cli.check import check as run

    raise typer.Exit(run(files, has_environment=not no_environment))


@keys.callback()
def _keys() -> None:
    """Make keys for tenants."""


@keys.command()
def create(
    tenant: Annotated[str, typer.Argument(help="The tenant that gets the key.")],
    file: Annotated[Path | None, typer.Option(help="Write the key to this file instead of keeping its digest.")] = None,
) -> None:
    """Make a key, print it once, and say what to write into the configuration."""
    from gateway.cli.keys import create as run

    raise typer.Exit(run(tenant, file))


AdminUrl = Annotated[
    str, typer.Option("--url", help="The gateway's admin.listen; the key is in the variable ADMIN_KEY.")
]


@app.command()
def top(
    url: AdminUrl = "http://127.0.0.1:8001",
    tenant: Annotated[str, typer.Option(help="Show only tenants whose name contains this.")] = "",
) -> None:
    """Show in the terminal who gets how much, beside what fairness owes, and why each waits."""
    from gateway.cli.top import TopOptions
    from gateway.cli.top import top as run

    raise typer.Exit(run(TopOptions(url, tenant)))


@app.command()
def status(
    url: AdminUrl = "http://127.0.0.1:8001",
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Print once what `top` shows; exit with 1 if something is wrong, with 2 if the gateway does not answer."""
    from gateway.cli.top import TopOptions
    from gateway.cli.top import status as run

    raise typer.Exit(run(TopOptions(url), json=json))


@app.command()
def bundle(
    file: Annotated[Path, typer.Argument(help="The file to write; one that exists is not replaced.")] = Path(
        "vtc-gateway-bundle.tar.gz"
    ),
    url: AdminUrl = "http://127.0.0.1:8001",
) -> None:
    """Write state, metrics and versions, without secrets, to one file for whoever helps."""
    from gateway.cli.bundle import bundle as run

    raise typer.Exit(run(file, url))


@app.command()
def demo(
    policy: Annotated[
        Literal["vtc", "fcfs"],
        typer.Option(help="Who goes next: vtc, or fcfs to see what happens without fair queuing."),
    ] = "vtc",
    seconds: Annotated[float, typer.Option(help="How long it runs.", min=5)] = 30.0,
    processes: Annotated[
        int, typer.Option(help="Gateway processes; from 2 on: the shares with and without one account.", min=1, max=8)
    ] = 1,
    engine: Engine = "embedded",
) -> None:
    """Run one flooding and two modest tenants, and show how much service each gets."""
    from evaluation.bench.demo import DemoOptions, measure
    from evaluation.bench.settings import EngineKind
    from evaluation.report.delivery import conduct

    options = DemoOptions(policy=policy, seconds=seconds, engine=EngineKind(engine), processes=processes)
    raise typer.Exit(conduct(measure(options), options))


@app.command()
def paper(  # noqa: PLR0913 - one parameter for each option
    trace: Annotated[
        Path | None, typer.Option(help="The real trace; default: a generated one with the same statistics.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    only: Annotated[str, typer.Option(help="Figures and tables, like fig3,table2; default: all.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    page: Annotated[
        Path | None, typer.Option(help="A Markdown page; its blocks `<!-- run: ... -->` are rewritten.")
    ] = None,
    check: Check = False,
) -> None:
    """Repeat the published evaluation of VTC in virtual time, and extend it."""
    from evaluation.paper.command import PaperOptions, run
    from evaluation.paper.experiment import experiments

    names = chosen("--only", only, [experiment.key for experiment in experiments()])
    options = PaperOptions(trace=trace, out=out, only=names, seed=seed, json=json, check=check, page=page)
    raise typer.Exit(run(options))


@app.command()
def conformance(  # noqa: PLR0913 -- one parameter for each option
    url: Annotated[
        list[str],
        typer.Option(help="The gateway: http://HOST:PORT, with or without /v1; given again for others of its fleet."),
    ],
    keys: Annotated[str, typer.Option(help="Keys of 2 to 4 tenants: NAME=KEY,NAME=KEY, or a file with one per line.")],
    model: Annotated[str, typer.Option(help="Model to ask for; default: the first that the gateway lists.")] = "",
    weights: Annotated[str, typer.Option(help="The tenants' weights: NAME=1,NAME=3.")] = "",
    seconds: Annotated[float, typer.Option(help="Measured time of each scenario.", min=1)] = 8.0,
    scenario: Annotated[
        list[str] | None, typer.Option(help="Run only this scenario; may be given several times.")
    ] = None,
    json: JsonFile = None,
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit XML to this file.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page (.html or .md) that explains every verdict.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a scenario fails.")] = False,
) -> None:
    """Judge the fairness of any OpenAI-compatible gateway."""
    from evaluation.conformance.command import ConformanceOptions, run

    options = ConformanceOptions(
        urls=url,
        keys=keys,
        model=model,
        weights=weights,
        seconds=seconds,
        scenarios=tuple(scenario or ()),
        json_file=json,
        junit_file=junit,
        page=page,
        check=check,
    )
    raise typer.Exit(run(options))


@app.command()
def workloads(
    source: Annotated[str | None, typer.Argument(help="A workload's name, its YAML file or a trace.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write its requests as a trace to this CSV file.")] = None,
    jsonl: Annotated[
        Path | None, typer.Option(help="Write its requests as a trace to this file of JSON lines.")
    ] = None,
    seed: Seed = None,
    seconds: Until = None,
    trace_format: Format = "auto",
) -> None:
    """List the workloads; or describe the one that is named, and write it as a trace."""
    from evaluation.play.listing import WorkloadsOptions, run
    from evaluation.workloads import ReadOptions

    raise typer.Exit(run(WorkloadsOptions(source, ReadOptions.of(seed, seconds, trace_format), csv, jsonl)))


@app.command()
def simulate(  # noqa: PLR0913 - one parameter for each option
    workload: Annotated[str, typer.Argument(help="A workload's name, its YAML file or a trace.")],
    policy: Annotated[str, typer.Option(help="Who goes next: vtc, fcfs, lcf, rpm:N or drr:N.")] = "vtc",
    predictor: Annotated[
        str,
        typer.Option(help="Predictor of output lengths: none, moving_average, quantile, oracle or noisy_oracle:N%."),
    ] = "none",
    engine: Annotated[
        Literal["paper", "vllm"], typer.Option(help="Engine: paper (its rounds), or vLLM behind the gateway's window.")
    ] = "paper",
    workers: Annotated[int, typer.Option(help="Number of engines.", min=1, max=64)] = 1,
    pool_tokens: Annotated[
        int | None,
        typer.Option(
            help="KV tokens of the paper's engine; default 10000, or what the longest request needs.",
            min=100,
            max=10_000_000,
        ),
    ] = None,
    max_model_len: Annotated[
        int | None,
        typer.Option(
            help="Longest sequence of the vLLM engine; default 4096, or what the longest request needs.",
            min=2,
            max=10_000_000,
        ),
    ] = None,
    profiled: Annotated[bool, typer.Option("--profiled", help="Charge the profiled cost instead of tokens.")] = False,
    seed: Seed = None,
    seconds: Until = None,
    trace_format: Format = "auto",
    json: JsonFile = None,
) -> None:
    """Play a workload or a trace in virtual time, with the gateway's own scheduler and a model of an engine."""
    from evaluation.play.simulation import SimulateOptions, run
    from evaluation.simulation.settings import EngineModel, RoundsSize, Settings, with_length
    from evaluation.workloads import ReadOptions
    from gateway.fairness import Linear, Profiled

    settings = Settings(
        policy=policy,
        predictor=predictor,
        cost=Profiled() if profiled else Linear(),
        engine=EngineModel(engine),
        slowness=(1.0,) * workers,
        rounds=RoundsSize() if pool_tokens is None else RoundsSize(pool_tokens=pool_tokens),
    )
    if max_model_len is not None:
        settings = replace(settings, batching=with_length(settings.batching, max_model_len))
    grows = (pool_tokens if engine == "paper" else max_model_len) is None
    how = ReadOptions.of(seed, seconds, trace_format)
    raise typer.Exit(run(SimulateOptions(workload, how, settings, json, grows)))


@app.command()
def replay(  # noqa: PLR0913 - one parameter for each option
    source: Annotated[str, typer.Argument(help="A trace, a workload's name or its YAML file.")],
    url: Annotated[str, typer.Option(help="Base URL of the endpoint, with or without `/v1`.")],
    keys: Annotated[str, typer.Option(help="NAME=KEY,... (`*` for the others), or a file with one on each line.")] = "",
    model: Annotated[str, typer.Option(help="Model to ask for; default: the first that the endpoint lists.")] = "",
    speed: Annotated[float, typer.Option(help="Speed, relative to the recorded one.", min=0.001, max=1000)] = 1.0,
    seconds: Until = None,
    seed: Seed = None,
    trace_format: Format = "auto",
    bytes_per_token: Annotated[
        float, typer.Option("--token-bytes", help="Bytes of prompt per token.", min=0.1, max=100)
    ] = 1.0,
    chat: Annotated[bool, typer.Option("--chat", help="Send chat completions instead of completions.")] = False,
    usage: Annotated[
        Literal["running", "final", "none"],
        typer.Option(help="How to get token counts: running (vLLM), final (OpenAI), none (count events)."),
    ] = "running",
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos/--no-ignore-eos", help="Ask for answers of exactly the recorded length.")
    ] = True,
    grace_seconds: Annotated[
        float, typer.Option(help="Time for answers to end after the last request was sent.", min=0)
    ] = 60.0,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write every request and every figure to this file.")
    ] = None,
) -> None:
    """Play a trace or a workload against a live endpoint; each request is sent at its own time."""
    from evaluation.play.replay import ReplayOptions, run
    from evaluation.workloads import ReadOptions

    options = ReplayOptions(
        source=source,
        read_options=ReadOptions.of(seed, seconds, trace_format),
        url=url,
        keys=keys,
        model=model,
        speed=speed,
        bytes_per_token=bytes_per_token,
        chat=chat,
        usage=usage,
        ignore_eos=ignore_eos,
        grace_seconds=grace_seconds,
        json_file=json,
    )
    raise typer.Exit(run(options))


def main() -> None:
    """Entry point of `vtc-gateway` and `python -m gateway`."""
    app()
