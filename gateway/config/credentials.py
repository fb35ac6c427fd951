"""The parts of the file that say where a key comes from.

The file holds the digest of a client's key, or a worker's key itself. Both may also come from an environment variable
or from a key file.
"""

from pydantic import ConfigDict, SecretStr

from gateway.config.section import Section, live

DIGEST_PATTERN = r"^[0-9a-fA-F]{64}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
_VARIABLE = "Name of the environment variable that holds the key; the gateway sees a new value only after a restart."


class KeySource(Section):
    """Where a client's key comes from; exactly one of the three settings is given."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in ("sha256", "env", "file")]})

    sha256: str | None = live(
        None,
        "SHA-256 of the key, 64 hexadecimal digits, as `vtc-gateway keys create` prints it.",
        pattern=DIGEST_PATTERN,
    )
    env: str | None = live(None, _VARIABLE, pattern=VARIABLE_PATTERN)
    file: str | None = live(
        None,
        "File that holds the key, relative to the configuration's folder; only its owner may write it (0600, 0640; "
        "mounted: 0440).",
        min_length=1,
    )


class WorkerKey(Section):
    """Where the key for a worker comes from; exactly one of the three settings is given."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in ("value", "env", "file")]})

    value: SecretStr | None = live(None, "The key itself, best written as `${VAR}`.")
    env: str | None = live(None, _VARIABLE, pattern=VARIABLE_PATTERN)
    file: str | None = live(
        None,
        "File that holds the key, relative to the configuration's folder; only its owner may write it (0600, 0640; "
        "mounted: 0440).",
        min_length=1,
    )
