"""The part of the file for several gateways that share one account: the store, and who this gateway is there.

A password never stands in the file. It comes from an environment variable or from a file.
"""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, Tag

from gateway.config.address import StoreUrl
from gateway.config.choices import WithoutStore
from gateway.config.credentials import VARIABLE_PATTERN
from gateway.config.section import NUMBER_OR_AUTO, Auto, Count, Quantity, Section, at_least_one, refuse_truth, restart

# The bounds stand before the validator, because after it the JSON schema would not show them.
Processes = Annotated[
    Annotated[int, Field(ge=1, le=256), BeforeValidator(refuse_truth), Tag("number")] | Auto, NUMBER_OR_AUTO
]


class ReplicasEntry(Section):
    """Several gateways (replicas) in front of the same workers, which share one account by a store."""

    model_config = ConfigDict(json_schema_extra=at_least_one("store"))

    store: StoreUrl = restart(
        ...,
        "Address of the store, a Valkey or Redis (6.2 or later, one primary): `redis://host:6379`, "
        "`rediss://host:6379` (TLS) or `unix:///path.sock`.",
    )
    username: str | None = restart(
        None,
        "User of the store, without spaces; default: the one that the store gives who names none.",
        pattern=r"^[^\s\x00-\x1f\x7f]{1,256}$",
    )
    password_env: str | None = restart(
        None, "Name of the environment variable that holds the store's password.", pattern=VARIABLE_PATTERN
    )
    password_file: str | None = restart(
        None,
        "File that holds the store's password, relative to the configuration's folder; only its owner may write it "
        "(0600, 0640; mounted: 0440).",
        min_length=1,
    )
    ca_file: str | None = restart(
        None, "Certificates (PEM) that may sign the store's; default: those of the system.", min_length=1
    )
    certificate_file: str | None = restart(
        None, "Certificate (PEM) that the gateway shows the store, if the store asks for one.", min_length=1
    )
    key_file: str | None = restart(None, "Private key (PEM) of `certificate_file`.", min_length=1)
    fleet: str = restart(
        "vtc-gateway",
        "Name of the account: gateways with the same name share it. 1 to 64 letters, digits, `_`, `.`, `-`.",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
    )
    name: str | None = restart(
        None,
        "Name of this gateway in the fleet; each has its own. 1 to 128 letters, digits and `_ . : -`; default: the "
        "host's name and the port.",
        pattern=r"^[A-Za-z0-9_.:-]{1,128}$",
    )
    expected: Count = restart(
        2,
        "Gateways of the fleet, each process counted, until the store tells how many live.",
        unit="gateways",
        ge=1,
        le=256,
    )
    lease_seconds: Quantity = restart(
        2.0,
        "Silence after which the others take over what a gateway holds; equal at all gateways.",
        unit="seconds",
        ge=0.5,
        le=30,
    )
    without_store: WithoutStore = restart(
        WithoutStore.CONTINUE,
        "While the store does not answer: `continue` goes on with a careful part of each worker, `refuse` refuses new "
        "requests with 503.",
    )
