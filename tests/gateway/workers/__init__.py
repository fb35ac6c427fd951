"""Tests of the workers' windows, circuits and placement."""
