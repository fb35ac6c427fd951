"""Computes numbers from the requests of a run and how they ended. PURE.

`service` has the published measures (service and demand over time, difference, accumulated gap, throughput). `runs` has
TTFTs, endings, the isolation of modest tenants and the summary of a whole run. `statistics` has what holds for any list
of numbers.
"""
