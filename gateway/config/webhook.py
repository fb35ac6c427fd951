"""The part of the file for the webhook: where the gateway tells that a budget is nearly or wholly used up."""

from base64 import b64decode
from typing import Final

from pydantic import ConfigDict

from gateway.config.address import WebhookUrl
from gateway.config.credentials import VARIABLE_PATTERN
from gateway.config.section import Section, restart

_ENCODED: Final = "whsec_"
_LEAST_SECRET_BYTES: Final = 24
MAKE_SECRET: Final = "echo whsec_$(openssl rand -base64 32)"  # noqa: S105 - a command that makes one


def signing_key(secret: str) -> bytes:
    """The key of the signatures: `secret`, or what follows `whsec_` in it, decoded. Raises `ValueError`, in words."""
    if not secret.startswith(_ENCODED):
        key = secret.encode()
    else:
        try:
            key = b64decode(secret.removeprefix(_ENCODED), validate=True)
        except ValueError:
            raise ValueError(f"is not base64 behind {_ENCODED}") from None
    if len(key) < _LEAST_SECRET_BYTES:
        raise ValueError(f"has fewer than {_LEAST_SECRET_BYTES} bytes")
    return key


class WebhookEntry(Section):
    """An address that gets a signed POST when a budget has reached 80 and 100 percent."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("secret_env", "secret_file")]}
    )

    url: WebhookUrl = restart(
        ..., "Address that receives the events: `https://host/path`, or `http://` on a network that you trust."
    )
    secret_env: str | None = restart(
        None, "Name of the environment variable that holds the secret for the signatures.", pattern=VARIABLE_PATTERN
    )
    secret_file: str | None = restart(
        None,
        "File that holds the secret, relative to the configuration's folder; only its owner may write it (0600, 0640; "
        "mounted: 0440).",
        min_length=1,
    )
