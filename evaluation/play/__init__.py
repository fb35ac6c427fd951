"""What can be done with a workload on the command line, whether it is drawn or recorded.

`listing` shows what it holds and writes it as a trace, `simulation` plays it in virtual time, `replay` against a live
endpoint: there the `player` sends every request at its own time, with a text of `prompts`, and `result` turns what came
back into numbers.
"""
