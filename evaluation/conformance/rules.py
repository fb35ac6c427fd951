"""The rules turn an observation into a judgement. PURE.

A verdict is passed, failed or not applicable, with a number, a margin and the reason in words. A number that is not
finite never passes: if nobody received anything, the scenario has shown nothing. Margins are coarse on purpose. The
suite measures shares over seconds, from outside, on machines that do other things too, so a share may be off by a
factor of two. If unfairness itself is only a factor r (weights 1:r, a tenant with r keys, 1/r of the capacity), the
margin is the square root of r: it is equally far from fair and from unfair.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum

from evaluation.conformance.observation import Observed, Refusal
from evaluation.metrics.statistics import max_min_shares, median, percentile
from evaluation.report.verdicts import Target, at_least, at_most, number


class ScenarioOutcome(Enum):
    """What a scenario found; the value is the word to print."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict. `number` is None where there was nothing to measure; `measurements` holds the figures behind it."""

    outcome: ScenarioOutcome
    reason: str
    number: float | None = None
    margin: Target | None = None
    measurements: Mapping[str, object] = field(default_factory=dict)


def judged(margin: Target, number: float, reason: str, measurements: Mapping[str, object] | None = None) -> Judgement:
    """Hold `number` against `margin`."""
    passed = math.isfinite(number) and margin.judge(number).passed
    return Judgement(
        ScenarioOutcome.PASSED if passed else ScenarioOutcome.FAILED, reason, number, margin, measurements or {}
    )


def failed(reason: str, margin: Target | None = None) -> Judgement:
    """The verdict on an endpoint that gave the suite nothing to measure."""
    return Judgement(ScenarioOutcome.FAILED, reason, None, margin)


def not_applicable(reason: str) -> Judgement:
    """The verdict if the suite did not get what the scenario needs."""
    return Judgement(ScenarioOutcome.NOT_APPLICABLE, reason)


FACTOR = 2.0
REFUSING_STATUSES = (429, 503)
# Beyond this there is no service whose shares the suite could judge.
MOST_BROKEN = 0.5

SHARE = at_most("service per weight, larger over smaller", FACTOR, " x")
DUE = at_least("least part of its max-min share that a tenant got", 1 / FACTOR)
WAIT = at_most("added wait for the first token, in answers of the flood", FACTOR)
PAST = at_most("service per weight, newcomer over the one that used idle capacity", FACTOR, " x")
LEAVER = at_most("service per weight, the one that leaves over the one that stays", FACTOR, " x")
WITHIN = at_most("refused of the requests within capacity", 0.0)


def by_weight(weights: Mapping[str, float]) -> Target:
    """The margin that separates the given weights from equal shares."""
    span = max(weights.values()) / min(weights.values())
    return at_most("service per weight, larger over smaller", min(FACTOR, math.sqrt(span)), " x")


def by_keys(keys: int) -> Target:
    """The margin that separates one share from a share for each of `keys`."""
    name = "service per weight, the one with many keys over the other"
    return at_most(name, min(FACTOR, math.sqrt(keys)), " x")


def by_gateways(count: int) -> Target:
    """The margin that separates one account from an account of each of `count` gateways."""
    return at_most("service per weight, larger over smaller", min(FACTOR, math.sqrt(count)), " x")


def alone_of(tenants: int) -> Target:
    """The margin that separates the whole capacity from the fixed part of one of `tenants`."""
    name = "output tokens per second, one tenant alone over all together"
    return at_least(name, max(1 / FACTOR, 1 / math.sqrt(tenants)))


def judge_shares(margin: Target, observed: Observed, weights: Mapping[str, float]) -> Judgement:
    """Everybody is backlogged, so everybody must get the same per weight."""
    shares = _per_weight(observed, weights)
    ratio = _ratio(max(shares.values()), min(shares.values()))
    return _compared(margin, observed, ratio, _times(ratio))


def judge_gain(margin: Target, observed: Observed, weights: Mapping[str, float], suspect: str, other: str) -> Judgement:
    """`suspect` must not get more than `other` by what it does. It may get less."""
    shares = _per_weight(observed, weights)
    ratio = _ratio(shares[suspect], shares[other])
    return _compared(margin, observed, ratio, f"{suspect} got {_factor(ratio)} as much per weight as {other}")


def _compared(margin: Target, observed: Observed, ratio: float, found: str) -> Judgement:
    reason = f"{_rates(observed)}; {found}{_troubles(observed)}"
    return _silence(margin, observed) or judged(margin, ratio, reason, _figures(observed))


def judge_due(observed: Observed, asked: Mapping[str, float], weights: Mapping[str, float]) -> Judgement:
    """Judge unequal demand; `asked` is the service that each asked for (infinite: any amount)."""
    if silent := _silence(DUE, observed):
        return silent
    shares = max_min_shares(asked, weights, observed.total)
    parts = {name: observed.services[name] / share for name, share in shares.items() if share > 0}
    if not parts:
        return failed("nobody asked for anything", DUE)
    worst = min(parts, key=lambda name: parts[name])
    reason = f"{_rates(observed)}; {worst} got {parts[worst]:.0%} of what is due to it{_troubles(observed)}"
    figures = {**_figures(observed), "due": shares}
    return judged(DUE, parts[worst], reason, figures)


def judge_wait(modest: str, alone: Observed, beside: Observed, flood: str, answer_seconds: float) -> Judgement:
    """A modest tenant beside a flood waits no longer for its first token than two answers of the flood take.

    One answer runs, because nobody breaks a running answer off. Another may stand in the engine's own queue, so that
    the engine never idles. With many slots one comes free sooner. The rule uses medians, so that one stall of a machine
    does not decide. An answer takes at least `answer_seconds`: an answer in one piece does not show how long it ran.
    """
    own, crowd = beside.tenants[modest], beside.tenants[flood]
    if silent := _silence(WAIT, alone, beside):
        return silent
    if not crowd.run_seconds or not own.ttft_seconds:
        return failed(f"there was nothing to compare with{_troubles(beside)}", WAIT)
    before, after = median(alone.tenants[modest].ttft_seconds), median(own.ttft_seconds)
    answer = max(median(crowd.run_seconds), answer_seconds)
    figures = {
        "ttft_alone_seconds": before,
        "ttft_beside_seconds": after,
        "ttft_beside_p95_seconds": percentile(own.ttft_seconds, 95),
        "flood_answer_seconds": answer,
    }
    reason = (
        f"first token after {_milliseconds(before)} alone and {_milliseconds(after)} beside the flood "
        f"({_factor(_ratio(after, before))}), whose answers take {_milliseconds(answer)}"
    )
    refused = len(own.refusals) + len(own.faults)
    if refused:
        sentence = f"{refused} of {own.sent} modest requests were refused or broke; {reason}"
        return Judgement(ScenarioOutcome.FAILED, sentence, None, WAIT, figures)
    return judged(WAIT, _ratio(max(0.0, after - before), answer), reason + _troubles(beside), figures)


def judge_conservation(alone: Sequence[Observed], together: Sequence[Observed]) -> Judgement:
    """One tenant alone gets about what all get together: the endpoint keeps nothing free for absent tenants.

    The best stretch of each counts, because other work on the machine can only slow a stretch down.
    """
    margin = alone_of(len(together[0].tenants))
    if silent := _silence(margin, *together, *alone):
        return silent
    rate, whole = (max(part.output_tokens_per_second for part in parts) for parts in (alone, together))
    reason = f"{number(rate)} output tokens per second alone, {number(whole)} together"
    figures = {"alone_tokens_per_second": rate, "together_tokens_per_second": whole}
    return judged(margin, _ratio(rate, whole), reason + _troubles(alone[0]), figures)


def judge_refusals(within: Observed, seen: Sequence[Refusal], refused: int) -> Judgement:
    """Within capacity the endpoint refuses nobody, and every refusal at any time is well-formed.

    `refused` is the number of refusals in the whole suite; `seen` are those that the suite kept.
    """
    if silent := _silence(WITHIN, within):
        return silent
    wrong = sorted({fault for refusal in seen for fault in refusal_faults(refusal)})
    share = len(within.refusals) / within.sent if within.sent else math.nan
    reason = f"{len(within.refusals)} of {within.sent} requests within capacity were refused"
    sentence = f"{refused} refusals in the whole suite" if refused else "nobody was refused in the whole suite"
    figures = {"refused_within": len(within.refusals), "sent_within": within.sent, "refused": refused, "wrong": wrong}
    if wrong:
        return Judgement(ScenarioOutcome.FAILED, f"{reason}; {sentence}: {'; '.join(wrong)}", share, WITHIN, figures)
    return judged(WITHIN, share, f"{reason}; {sentence}{', each well-formed' if seen else ''}", figures)


def refusal_faults(refusal: Refusal) -> list[str]:
    """What a refusal lacks: a status that says so, the time to come again, an error that a client can read."""
    faults = []
    if refusal.status not in REFUSING_STATUSES:
        faults.append(f"status {refusal.status} instead of 429 or 503")
    if not _is_delay(refusal.retry_after):
        faults.append("no Retry-After")
    if not _is_error(refusal.body):
        faults.append("no JSON body with error.message")
    return faults


def _is_delay(retry_after: str | None) -> bool:
    """True for seconds or a date, the two forms of RFC 9110, section 10.2.3."""
    if retry_after is None:
        return False
    if retry_after.isascii() and retry_after.isdigit():
        return True
    try:
        parsedate_to_datetime(retry_after)
    except ValueError:
        return False
    return True


def _is_error(body: str) -> bool:
    try:
        document = json.loads(body)
    except ValueError:
        return False
    error = document.get("error") if isinstance(document, dict) else None
    return isinstance(error, dict) and isinstance(error.get("message"), str) and bool(error["message"])


def _per_weight(observed: Observed, weights: Mapping[str, float]) -> dict[str, float]:
    return {name: service / weights[name] for name, service in observed.services.items()}


def _silence(margin: Target, *stretches: Observed) -> Judgement | None:
    """The verdict on an endpoint that sent nothing, or nothing whole."""
    for observed in stretches:
        if observed.total <= 0:
            return failed(f"no token arrived in {observed.seconds:.1f} s{_troubles(observed)}", margin)
        if len(observed.faults) > MOST_BROKEN * observed.sent:
            return failed(f"most answers broke{_troubles(observed)}", margin)
    return None


def _ratio(upper: float, lower: float) -> float:
    return upper / lower if lower > 0 else math.inf


def _rates(observed: Observed) -> str:
    return ", ".join(f"{name} {number(observed.rate(name))}/s" for name in observed.tenants)


def _times(ratio: float) -> str:
    return "somebody got nothing" if math.isinf(ratio) else f"a factor of {ratio:.2f} per weight"


def _factor(ratio: float) -> str:
    return "infinitely" if math.isinf(ratio) else f"{ratio:.2f} times"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def _troubles(observed: Observed) -> str:
    """The other failures, as the end of a sentence."""
    refused, faults = len(observed.refusals), observed.faults
    said = []
    if refused:
        said.append(f"{refused} of {observed.sent} requests refused with status {observed.refusals[0].status}")
    if faults:
        said.append(f"{len(faults)} of {observed.sent} broken (first: {faults[0][:120]})")
    return f"; {', '.join(said)}" if said else ""


def _figures(observed: Observed) -> dict[str, object]:
    return {
        "seconds": observed.seconds,
        "service": observed.services,
        "requests": {name: received.sent for name, received in observed.tenants.items()},
        "refused": len(observed.refusals),
        "broken": len(observed.faults),
    }
