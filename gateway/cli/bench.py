"""Parses the commands of `vtc-gateway bench`; each is run by its own module, which is imported when it runs."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from gateway.cli.options import Check, Engine, JsonFile, chosen

bench = typer.Typer(help="Measure fairness, isolation, windows, locality, cost and delay.", no_args_is_help=True)

Policy = Annotated[Literal["vtc", "fcfs", "lcf", "rpm", "drr"], typer.Option(help="The policy that is measured.")]
Seconds = Annotated[float, typer.Option(help="Measured time of each variant.", min=1)]
Rounds = Annotated[int, typer.Option(help="Number of interleaved parts of the measured time.", min=1)]


def _conduct(measure: Callable[[Any], Coroutine[Any, Any, Any]], options: Any) -> NoReturn:
    """Run a bench, print and write its report, and exit with its status."""
    from evaluation.report.delivery import conduct

    raise typer.Exit(conduct(measure(options), options))


@bench.command()
def fairness(
    engine: Engine = "embedded",
    policy: Policy = "vtc",
    seconds: Annotated[float, typer.Option(help="Measured time of each scenario.", min=1)] = 60.0,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds with and without the gateway.", min=1)] = 5,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure equal shares, weights, short against long answers, and the cost in throughput."""
    from evaluation.bench.fairness import measure
    from evaluation.bench.settings import EngineKind
    from evaluation.bench.turns import RunOptions

    options = RunOptions(
        engine=EngineKind(engine), policy=policy, seconds=seconds, rounds=rounds, json_file=json, check=check
    )
    _conduct(measure, options)


@bench.command()
def isolation(
    engine: Engine = "embedded",
    policy: Policy = "vtc",
    seconds: Seconds = 60.0,
    rounds: Rounds = 3,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure how long a modest tenant waits beside a flood, with and without an express lane."""
    from evaluation.bench.isolation import measure
    from evaluation.bench.settings import EngineKind
    from evaluation.bench.turns import RunOptions

    options = RunOptions(
        engine=EngineKind(engine), policy=policy, seconds=seconds, rounds=rounds, json_file=json, check=check
    )
    _conduct(measure, options)


@bench.command()
def window(  # noqa: PLR0913 - one parameter for each option
    engine: Engine = "embedded",
    policy: Policy = "vtc",
    only: Annotated[str, typer.Option(help="Parts: memory or speeds; default: both.")] = "",
    seconds: Seconds = 24.0,
    rounds: Rounds = 3,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure how well the gateway finds out what an engine can take: memory, and engines of two speeds."""
    from evaluation.bench.settings import EngineKind
    from evaluation.bench.window import PARTS, WindowOptions, measure

    options = WindowOptions(
        engine=EngineKind(engine),
        policy=policy,
        subjects=chosen("--only", only, PARTS),
        seconds=seconds,
        rounds=rounds,
        json_file=json,
        check=check,
    )
    _conduct(measure, options)


@bench.command()
def locality(  # noqa: PLR0913 - one parameter for each option
    engine: Engine = "embedded",
    workers: Annotated[int, typer.Option(help="Engines behind the gateway.", min=2, max=4)] = 2,
    quantum: Annotated[
        int, typer.Option(help="Cost by which a tenant may be ahead and go first with a cached prompt.", min=1)
    ] = 4000,
    seconds: Seconds = 60.0,
    rounds: Rounds = 3,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure what the locality quantum gains for conversations that begin alike, and what it costs in fairness."""
    from evaluation.bench.locality import LocalityOptions, measure
    from evaluation.bench.settings import EngineKind

    options = LocalityOptions(
        engine=EngineKind(engine),
        workers=workers,
        quantum=quantum,
        seconds=seconds,
        rounds=rounds,
        json_file=json,
        check=check,
    )
    _conduct(measure, options)


@bench.command()
def replicas(
    engine: Engine = "embedded",
    seconds: Seconds = 60.0,
    rounds: Rounds = 2,
    faults: Annotated[
        bool, typer.Option("--faults", help="Instead, what trouble of their store adds to the time to first token.")
    ] = False,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure what gateways that share an account do with tenants who come by different ones, beside strangers."""
    from evaluation.bench import replicas, store_faults
    from evaluation.bench.settings import EngineKind
    from evaluation.bench.turns import RunOptions

    options = RunOptions(engine=EngineKind(engine), seconds=seconds, rounds=rounds, json_file=json, check=check)
    _conduct(store_faults.measure if faults else replicas.measure, options)


@bench.command()
def processes(
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.", min=1)] = 5,
    seconds: Annotated[
        float | None, typer.Option(help="Measured time of each turn; default: the load's own, 2 to 4.", min=0.2)
    ] = None,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure what two gateway processes with a store carry and cost, compared with one that has none."""
    from evaluation.bench.datapath.several import ProcessesOptions, measure

    _conduct(measure, ProcessesOptions(rounds=rounds, seconds=seconds, json_file=json, check=check))


@bench.command()
def datapath(  # noqa: PLR0913 - one parameter for each option
    only: Annotated[
        str,
        typer.Option(help="Loads, like steps-64,burst; default: all (docs/performance-notebook.md#measuring)."),
    ] = "",
    peers: Annotated[
        str, typer.Option(help="Proxies to compare with, like nginx,envoy; default: all that are installed.")
    ] = "",
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.", min=1)] = 5,
    seconds: Annotated[
        float | None, typer.Option(help="Measured time of each turn; default: the load's own, 2 or 3.", min=0.2)
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Two minutes: the main loads beside three peers, one round of a second each."),
    ] = False,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure cost and delay of a streamed chunk and of a whole answer, beside other proxies."""
    from evaluation.bench.datapath.command import DatapathOptions, measure
    from evaluation.bench.datapath.contenders import CONTENDERS
    from evaluation.bench.datapath.loads import LOADS

    options = DatapathOptions(
        loads=chosen("--only", only, LOADS),
        peers=chosen("--peers", peers, CONTENDERS),
        rounds=rounds,
        seconds=seconds,
        quick=quick,
        json_file=json,
        check=check,
    )
    _conduct(measure, options)


@bench.command()
def scheduler(
    most: Annotated[int, typer.Option(help="Skip sizes with more tenants or requests than this.", min=10_000)] = (
        1_000_000
    ),
    rounds: Annotated[int, typer.Option(help="How often each size is tried; the fastest try counts.", min=1)] = 3,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure the cost of a decision and the memory, by waiting tenants, known tenants and queued requests."""
    from evaluation.bench.scheduler import SchedulerOptions, measure

    _conduct(measure, SchedulerOptions(most=most, rounds=rounds, json_file=json, check=check))


@bench.command()
def blocking(
    rounds: Annotated[int, typer.Option(help="How often each input is tried; the median counts.", min=1)] = 5,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure how long the largest and the most hostile inputs, and the gateway's own pages, delay all others."""
    from evaluation.bench.blocking import BlockingOptions, measure

    _conduct(measure, BlockingOptions(rounds=rounds, json_file=json, check=check))


@bench.command()
def ledger(
    rows: Annotated[int, typer.Option(help="Rows of the large file.", min=1000)] = 10_000_000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds with and without a ledger.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Measured time of each turn.", min=0.2)] = 5.0,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where files are made, on the disk to measure; default: the system's temporary folder."),
    ] = None,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Measure what a row costs the writer and the event loop, and starts and reports with a month of rows."""
    from evaluation.bench.ledger import LedgerOptions, measure

    options = LedgerOptions(rows=rows, rounds=rounds, seconds=seconds, folder=folder, json_file=json, check=check)
    _conduct(measure, options)


@bench.command()
def soak(
    minutes: Annotated[float, typer.Option(help="How long it runs; the first two minutes do not count.", min=0.2)] = (
        15.0
    ),
    seed: Annotated[int, typer.Option(help="Seed of the clients' behaviour.", min=0)] = 1,
    json: JsonFile = None,
    check: Check = False,
) -> None:
    """Run minutes of ordinary trouble; memory, descriptors, tasks and accounts must end as they began."""
    from evaluation.bench.soak import SoakOptions, measure

    _conduct(measure, SoakOptions(minutes=minutes, seed=seed, json_file=json, check=check))
