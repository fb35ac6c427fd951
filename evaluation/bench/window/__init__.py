"""Does the gateway find out by itself how much each engine can take?

Four parts, each a question of its own: `memory` (a KV cache too small for full concurrency), `speeds` (two engines of
which one is three times slower), `blind` (metrics dead, slow, lying or stale), `unknown` (nobody told the window).
Every way of a part has a gateway of its own, started for its turn: what it knows of the engine it has learned from its
own requests, and a gateway that looks on while others use its engine would learn something else.
"""
