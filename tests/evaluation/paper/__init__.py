"""These tests hold the paper's experiments and their report, mostly on fabricated runs."""
