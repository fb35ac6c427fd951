"""A fixed amount of work for one core, so that a time can be told without the machine it was taken on."""

import time

ROUNDS = 10_000_000


def loop_seconds() -> float:
    """CPU seconds of ten million additions in this interpreter, on one core."""
    start = time.process_time()
    total = 0
    for number in range(ROUNDS):
        total += number
    assert total == ROUNDS * (ROUNDS - 1) // 2
    return time.process_time() - start
