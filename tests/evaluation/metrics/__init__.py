"""These tests compare the metrics with the published definition, written a second way."""
