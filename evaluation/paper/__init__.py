"""The published evaluation of VTC, repeated in virtual time and gone past: `vtc-gateway paper`.

`experiments` says what is run, as data (`experiment` has the types, `published` the numbers that were printed);
`laboratory` runs it in several processes and keeps a `reading` of each run; `judgement` holds the readings against the
targets; `figures`, `sheets` and `assembly` make a `document` of them, which `html` and `markdown` write out beside
`numbers`; `page` writes the blocks of the documentation. `command` puts it together. Every word of a conclusion has its
number from the runs.
"""
