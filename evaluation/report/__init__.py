"""How the evaluation tells what it found: one model of a report, and each way to show it.

`verdicts` hold numbers against targets; a `document` is sections of statements and sheets, which `pages` write
out as HTML or Markdown and `terminal` prints; `delivery` turns a bench into a table, a JSON file and an exit status.
"""
