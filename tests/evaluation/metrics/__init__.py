"""Tests of the metrics, with the published definition written a second way."""
