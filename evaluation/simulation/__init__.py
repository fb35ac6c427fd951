"""Discrete events in virtual time: the production scheduler on models of engines."""
