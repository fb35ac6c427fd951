"""Plays a trace against a live endpoint, open loop: every request leaves at its own time."""
