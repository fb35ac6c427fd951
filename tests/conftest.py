"""Makes the modules beside it importable by every test: virtual time, the whole gateway, a raw HTTP client.

For properties: a slow or busy machine is no failure. The suite draws the same examples each time, so that a run says
something about a change alone. `make fuzz` draws fresh ones and prints how to draw a failing one again: 30,000 for
each property of what reads foreign bytes (`fuzz`), fewer for each property of the pure packages (`fresh`).
"""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "fuzz", settings.get_profile("patient"), derandomize=False, max_examples=30_000, print_blob=True
)
settings.register_profile(
    "fresh", settings.get_profile("patient"), derandomize=False, max_examples=2_000, print_blob=True
)
settings.load_profile("patient")
