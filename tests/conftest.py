"""Makes the modules beside it importable by every test: virtual time, the whole gateway, a raw HTTP client.

For properties: a slow or busy machine is no failure.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
