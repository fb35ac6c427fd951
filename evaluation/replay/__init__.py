"""Plays a workload against a live OpenAI-compatible endpoint, open loop, and says what each tenant got.

`keys` reads who sends with which key, `prompts` makes prompts of the wanted lengths, `player` sends every request at
its own time, `result` turns what came back into numbers, `command` is `vtc-gateway replay`.
"""
