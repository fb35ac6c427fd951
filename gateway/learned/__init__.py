"""What the gateway learns from answers: tokens of a prompt, time to its first token, decode speed, lengths. Pure.

Rules that hold for every estimator here:
- a ratio is a ratio of decayed sums, never a mean of ratios: who asks little or briefly weighs little;
- a denominator has a floor and a result has limits, whatever is observed;
- one observation moves little: it weighs no more than two of those before it;
- where a tenant pays there is an estimator for each tenant (`Panel`); one that is new starts from the median over
  tenants, in which each counts once, so that no tenant's habits move another's figures;
- what forgets forgets by its own observations, so prompts of two bytes do not wipe out what documents have taught;
- every map is bounded.
Left to others: what is observed when, and what is charged (`gateway.fairness`).
"""
