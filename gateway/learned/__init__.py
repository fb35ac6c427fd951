"""Learns from answers: tokens of a prompt, time to its first token, decode speed, lengths of answers. Pure.

Rules for every estimator:
- A ratio is a ratio of decayed sums, never a mean of ratios. So short requests have little weight.
- A denominator has a floor and a result has limits, whatever is observed.
- One observation moves the result little: it weighs at most as much as two usual ones.
- Figures that decide what a tenant pays have one estimator for each tenant (`Panel`): the tenant's own answers decide
  its figures. Other tenants can only move the median from which a newcomer starts, and each has one vote there.
- An estimator forgets only as new observations of the same kind come. So prompts of two bytes do not wipe out what
  documents have taught.
- Every map is bounded.
Left to others: what is observed when, and what is charged (`gateway.fairness`).
"""
