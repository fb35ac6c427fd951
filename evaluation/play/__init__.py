"""The commands on a workload, whether it is drawn or recorded.

`listing` shows a workload and writes it as a trace. `simulation` plays it in virtual time. `replay` plays it against a
live endpoint: the `player` sends every request at its own time, with a text of `prompts`, and `result` computes numbers
from the answers.
"""
