"""The scenarios in the order in which they run: what each claims, how it is judged, and why by that margin.

Those about the past come right after the equal shares, which leave nobody with a credit that would hide theirs.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from evaluation.conformance import plays
from evaluation.conformance.arena import Arena
from evaluation.conformance.judgement import Judgement

COARSE = (
    "A factor of two: shares are measured from outside over seconds, and a neighbour on the machine must not decide. "
    "What is judged unfair here is off by more than any of that."
)
HALFWAY = "The square root of the unfair result: as far from right as from wrong, and never more than a factor of two."


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario. `name` is its name for `--scenario`, for JSON and JUnit."""

    name: str
    title: str
    claim: str
    method: str
    margin_reason: str
    play: Callable[[Arena], Awaitable[Judgement]]


SCENARIOS = (
    Scenario(
        "share",
        "Equal shares",
        "Two backlogged tenants get the same service, however many requests each keeps outstanding.",
        "One tenant keeps eight times as many requests outstanding as the endpoint runs at once, the others twice as "
        "many. Number: service per weight, the largest over the smallest.",
        f"{COARSE} First come, first served gives a factor of four.",
        plays.share,
    ),
    Scenario(
        "on-off",
        "On and off",
        "A tenant that comes back from a pause gets its share at once, and no credit for having paused.",
        "One tenant has the endpoint for itself for a window; then the other comes, and from that moment a window is "
        "measured. Number: service per weight, the larger over the smaller.",
        f"{COARSE} With stored credit the tenant that comes back gets everything.",
        plays.on_off,
    ),
    Scenario(
        "past-use",
        "No punishment for past use",
        "Who used capacity that nobody else wanted does not pay for it when others come.",
        "As before with the roles exchanged. Number: service per weight of the newcomer over that of the tenant that "
        "had the endpoint for itself.",
        f"{COARSE} A quota that was used up while nobody else asked is such a punishment.",
        plays.past_use,
    ),
    Scenario(
        "unequal",
        "Unequal demand",
        "A tenant that asks for less than its share gets all of it, and the rest is divided among those who want more.",
        "The last tenant asks for half of its share, at random moments; the others flood. The max-min fair division of "
        "what the endpoint delivered is computed from what each asked for. Number: the least part of it that one got.",
        COARSE,
        plays.unequal,
    ),
    Scenario(
        "weights",
        "Weights",
        "Backlogged tenants get service in proportion to their weights.",
        "All tenants keep the same number of requests outstanding. Number: service per weight, the largest over the "
        "smallest. Needs different weights from the operator.",
        f"{HALFWAY} A gateway that ignores weights is off by their ratio.",
        plays.weights,
    ),
    Scenario(
        "isolation",
        "Isolation under a flood",
        "A tenant of one small request at a time hardly notices another's flood, and is never refused.",
        "Its time to first token alone, then beside a tenant with eight times as many requests outstanding as the "
        "endpoint runs at once. Number: the median wait that the flood adds, in answers of the flood.",
        "Two answers, even on an engine with a single slot: one runs and is not broken off, one may stand in the "
        "engine's own queue so that it never idles. Many slots free one sooner; in order of arrival it is eight.",
        plays.isolation,
    ),
    Scenario(
        "lengths",
        "Input- against output-heavy",
        "Tenants share by service, not by requests: neither long prompts nor long answers gain.",
        "One tenant sends long prompts for short answers, the other short prompts for long answers. Number: service (1 "
        "for an input token, 2 for an output token), the larger over the smaller.",
        f"{COARSE} A gateway may weigh input and output a little otherwise.",
        plays.lengths,
    ),
    Scenario(
        "conservation",
        "Work conservation",
        "A tenant that is alone may use the whole endpoint.",
        "The same backlog from one tenant alone, from all, from all, from one alone. Number: output tokens per second "
        "alone over together, the better stretch of each.",
        "The square root of one tenant's fixed part, one over the number of tenants, and at least one half.",
        plays.conservation,
    ),
    Scenario(
        "disconnect",
        "Disconnect before the end",
        "Leaving before the last token, and so before usage is told, gains nothing.",
        "One tenant's clients close the connection in the middle of each answer. Number: its service per weight over "
        "that of a tenant that stays.",
        f"{COARSE} Where only finished requests are charged, the one that leaves gets nearly everything.",
        plays.disconnect,
    ),
    Scenario(
        "keys",
        "Many keys of one tenant",
        "Splitting into many keys gains nothing.",
        "One tenant sends a backlog with each of its keys, another with its only one. Number: service per weight over "
        "that of the other. Needs a tenant with several keys.",
        f"{HALFWAY} Where each key has a share, the tenant gets as many shares as it has keys.",
        plays.many_keys,
    ),
    Scenario(
        "refusals",
        "Refusals",
        "Nobody within capacity is refused, and whoever is refused is told when to come again.",
        "All tenants together keep as many requests outstanding as the endpoint runs at once. Number: the part of "
        "them that was refused. Every refusal of the whole suite must have status 429 or 503, a Retry-After, and a "
        "JSON error.",
        "None: nothing is measured here that a busy machine could blur.",
        plays.refusals,
    ),
)
NAMES = tuple(scenario.name for scenario in SCENARIOS)
