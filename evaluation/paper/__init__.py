"""The evaluation of the VTC paper, repeated on the production scheduler: experiments, figures, tables, a report."""
