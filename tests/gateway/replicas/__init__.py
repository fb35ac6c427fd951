"""Tests of several gateways that share one account."""
