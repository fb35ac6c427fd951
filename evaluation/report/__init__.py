"""How the evaluation shows what it found: one model of a report, and each way to show it.

`verdicts` compares numbers with targets. A `document` has sections of statements and sheets. `pages` writes it as HTML
or Markdown, and `terminal` prints it. `delivery` turns a bench into a table, a JSON file and an exit status.
"""
