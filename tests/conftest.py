"""Makes the modules beside it importable by every test: virtual time, the whole gateway, a raw HTTP client."""
