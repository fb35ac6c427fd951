"""vtc-gateway: a fairness-aware proxy gateway in front of LLM engines."""

__version__ = "0.1.0"
