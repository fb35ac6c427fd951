"""PURE: from what became of the requests to numbers.

`service` has the published measures (service and demand over time, difference, accumulated gap, throughput), `runs`
TTFTs, endings, how modest tenants fare and the summary of a whole run, `statistics` what is known of any list of
numbers.
"""
