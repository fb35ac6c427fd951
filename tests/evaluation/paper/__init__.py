"""Tests of the report, on fabricated runs."""
