"""Writes what was used as the lines of FOCUS 1.2, the format in which tools for cloud costs read invoices.

There is a line for each hour, tenant, key, pool, model and meter: tokens of prompts that were not cached, tokens that
were, tokens of answers and, where it has a price, worker time. A tenant is a billing account, a key is a sub-account.
Quantities and costs are exact decimal numbers, so the lines of a time add up to the report of that time. There are all
columns that the specification demands of everybody, and of the others those that have something to say.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Final, NamedTuple

from gateway.ledger.report import FIELDS, Period, Query, Subject, label_of, lines, moment_of, month_of, quarter_of

_SUBJECTS: Final = (Subject.TENANT, Subject.KEY, Subject.POOL, Subject.MODEL)
MANDATORY: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
)
COLUMNS: Final = (
    *MANDATORY,
    "ChargeFrequency",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ServiceSubcategory",
    "SubAccountId",
    "SubAccountName",
    "x_Meter",
    "x_Model",
)
_US_A_SECOND: Final = 6  # as a power of ten, like the two below
_TOKENS_A_UNIT: Final = 6
_NANO: Final = 9
_SECONDS_AN_HOUR: Final = 3600
_HOURS_DIGITS: Final = 12


class Issuer(NamedTuple):
    """Who provides the service, and the currency of the prices (ISO 4217)."""

    name: str
    currency: str


class _Meter(NamedTuple):
    """What was used of one meter, in its unit and in that of its price."""

    name: str
    consumed: Decimal
    consumed_unit: str
    priced: Decimal
    pricing_unit: str
    cost_nano: int


def query_of(first: int, end: int, zone: tzinfo) -> Query:
    """What the lines are made of, for the quarter hours from `first` to before `end`."""
    return Query(first, end, zone, _SUBJECTS, Period.HOUR)


def records(
    query: Query, parts: Iterable[tuple[int, tuple[str, ...], tuple[float, ...]]], issuer: Issuer
) -> Iterator[Mapping[str, str]]:
    """The lines made of the `parts` of a `query_of`; hours and months are those of the clock in its zone."""
    for line in lines(query, parts):
        month = _month(datetime.fromisoformat(line.period).astimezone(query.zone))
        periods = {**_hour(line.period, query.zone), **month}
        sums = dict(zip(FIELDS, map(int, line.sums), strict=True))
        for meter in _meters(sums):
            yield _record(line.names, periods, meter, issuer)


def _meters(sums: Mapping[str, int]) -> Iterator[_Meter]:
    cached = sums["cached_tokens"]
    parts_nano = (sums["prompt_nano"], sums["cached_nano"], sums["output_nano"])
    names = ("input tokens", "cached input tokens", "output tokens")
    counts = (sums["prompt_tokens"] - cached, cached, sums["output_tokens"])
    for name, tokens, nano in zip(names, counts, parts_nano, strict=True):
        if tokens:
            exact = Decimal(tokens)
            yield _Meter(name, exact, "Tokens", exact.scaleb(-_TOKENS_A_UNIT), "1000000 Tokens", nano)
    worker_nano = sums["money_nano"] - sum(parts_nano)
    if worker_nano:
        seconds = Decimal(sums["worker_us"]).scaleb(-_US_A_SECOND)
        hours = round(seconds / _SECONDS_AN_HOUR, _HOURS_DIGITS)
        yield _Meter("worker time", seconds, "Seconds", hours, "Hours", worker_nano)


def _record(names: tuple[str, ...], periods: Mapping[str, str], meter: _Meter, issuer: Issuer) -> Mapping[str, str]:
    tenant, key, pool, model = names
    cost = _number(Decimal(meter.cost_nano).scaleb(-_NANO))
    costs = dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost)
    issuers = dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), issuer.name)
    return {
        **costs,
        **issuers,
        **periods,
        "BillingAccountId": tenant,
        "BillingAccountName": tenant,
        "BillingCurrency": issuer.currency,
        "ChargeCategory": "Usage",
        "ChargeClass": "",  # null: the line corrects no other
        "ChargeDescription": f"{meter.name.capitalize()} of {pool}",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": _number(meter.consumed),
        "ConsumedUnit": meter.consumed_unit,
        "PricingQuantity": _number(meter.priced),
        "PricingUnit": meter.pricing_unit,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": pool,
        "ServiceSubcategory": "Generative AI",
        "SubAccountId": f"{tenant}/{key}",
        "SubAccountName": key,
        "x_Meter": meter.name,
        "x_Model": model,
    }


def _hour(label: str, zone: tzinfo) -> Mapping[str, str]:
    """The hour that `label` names; where a clock is turned by half an hour, it is the half that there is."""
    first = quarter_of(datetime.fromisoformat(label))
    quarters = [each for each in range(first, first + 4) if label_of(each, Period.HOUR, zone) == label]
    return _period("Charge", moment_of(quarters[0], UTC), moment_of(quarters[-1] + 1, UTC))


def _month(local: datetime) -> Mapping[str, str]:
    first = month_of(local)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return _period("Billing", first, following)


def _period(name: str, start: datetime, end: datetime) -> Mapping[str, str]:
    moments = {f"{name}PeriodStart": start, f"{name}PeriodEnd": end}
    return {column: f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for column, moment in moments.items()}


def _number(value: Decimal) -> str:
    """Without exponent and without needless zeros."""
    return f"{value.normalize():f}"
