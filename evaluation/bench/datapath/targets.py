"""What the gateway is held to, each as a ratio or a difference within a run.

A peer that is not installed is not judged against; the command names it in a warning.
"""

from collections.abc import Iterator

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY
from evaluation.bench.datapath.findings import Figure, Findings
from evaluation.bench.datapath.load import Observation
from evaluation.bench.datapath.loads import ARRIVALS, CROWD, FEW, IDLE, MANY, WHOLE, Load
from evaluation.report.verdicts import Comparison, Target, Verdict, number

NGINX, ENVOY, VLLM_ROUTER, SMG = "nginx", "envoy", "vllm-router", "smg"
PEERS_BELOW = (ENVOY, VLLM_ROUTER, SMG)

AGAINST_NGINX = 1.25
CLEAN_SECONDS = 0.1
_MS = 1000.0
_KB = 1000.0


def cost(seen: Observation) -> float:
    """Processor time for each chunk or request, in microseconds."""
    return seen.cost_seconds * 1e6


def memory(load: Load) -> Figure:
    """Memory that each connection of `load` takes, in kilobytes."""
    return lambda seen: (seen.resident_during - seen.resident_before) / load.count / _KB


def verdicts(findings: Findings) -> list[Verdict]:
    """The verdict on every target that was measured."""
    return [
        *(verdict for load in (FEW, MANY) for verdict in _streaming(findings, load)),
        *_whole(findings),
        *_delays(findings),
        *_crowd(findings),
    ]


def _streaming(findings: Findings, load: Load) -> Iterator[Verdict]:
    for peer, limit in ((NGINX, AGAINST_NGINX), *((peer, 1.0) for peer in PEERS_BELOW)):
        if peer in findings.names(load):
            comparison = Comparison.AT_MOST if peer == NGINX else Comparison.BELOW
            target = Target(f"CPU per chunk, {load.name}: gateway over {peer}", comparison, limit, " x")
            yield target.judge(findings.ratio(load, GATEWAY, peer, cost), _costs(findings, load, peer))


def _whole(findings: Findings) -> Iterator[Verdict]:
    if SMG not in findings.names(WHOLE):
        return
    note = _costs(findings, WHOLE, SMG)
    if VLLM_ROUTER in findings.names(WHOLE):
        stretch = findings.ratio(WHOLE, GATEWAY, VLLM_ROUTER, cost)
        note += f"; {number(stretch)} x {VLLM_ROUTER}, which should become 2 x"
    target = Target("CPU per request, not streamed: gateway over smg", Comparison.AT_MOST, 1.0, " x")
    yield target.judge(findings.ratio(WHOLE, GATEWAY, SMG, cost), note)


def _delays(findings: Findings) -> Iterator[Verdict]:
    figures: tuple[tuple[str, Load, Figure, float], ...] = (
        ("TTFT added, p50, 200 new streams/s", ARRIVALS, lambda seen: seen.first_p50 * _MS, 1.0),
        ("TTFT added, p99, 200 new streams/s", ARRIVALS, lambda seen: seen.first_p99 * _MS, 5.0),
        ("time between tokens added, p99, 600 streams", MANY, lambda seen: seen.gap_p99 * _MS, 2.0),
    )
    for name, load, figure, limit in figures:
        if findings.names(load):
            note = f"{number(findings.median(load, GATEWAY, figure))} ms, without a proxy "
            note += f"{number(findings.median(load, DIRECT, figure))} ms"
            yield Target(name, Comparison.AT_MOST, limit, " ms").judge(
                findings.added(load, GATEWAY, DIRECT, figure), note
            )


def _crowd(findings: Findings) -> Iterator[Verdict]:
    if findings.names(CROWD):
        late = Target(f"{CROWD.name}: the latest token", Comparison.AT_MOST, CLEAN_SECONDS * _MS, " ms")
        broken = findings.median(CROWD, GATEWAY, lambda seen: seen.faults)
        latest = findings.median(CROWD, GATEWAY, lambda seen: seen.late_max * _MS)
        direct = findings.median(CROWD, DIRECT, lambda seen: seen.late_max * _MS)
        yield late.judge(latest, f"{CROWD.pace} tokens/s each; without a proxy {number(direct)} ms")
        whole = Target(f"{CROWD.name}: streams that were not complete", Comparison.AT_MOST, 0)
        yield whole.judge(broken)
        kept = Target("memory for each stream", Comparison.AT_MOST, 50, " kB")
        yield kept.judge(findings.median(CROWD, GATEWAY, memory(CROWD)), f"of {CROWD.count}")
    if findings.names(IDLE):
        kept = Target("memory for each idle connection", Comparison.AT_MOST, 12, " kB")
        yield kept.judge(findings.median(IDLE, GATEWAY, memory(IDLE)), f"of {IDLE.count}")


def _costs(findings: Findings, load: Load, peer: str) -> str:
    mine, theirs = (number(findings.median(load, name, cost)) for name in (GATEWAY, peer))
    return f"{mine} us against {theirs} us, {len(findings.rounds(load, GATEWAY))} rounds"
