"""Prints the JSON schema of the configuration file: `python -m gateway.config > docs/config.schema.json`."""

import sys

from gateway.config.export import json_schema_text

if __name__ == "__main__":
    sys.stdout.write(json_schema_text())
