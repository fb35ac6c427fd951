"""What the live tools say: progress while they work, verdicts on targets, a table, a JSON file and an exit status."""
