"""The published evaluation of VTC, repeated in virtual time and gone past: `vtc-gateway paper`.

`experiments.yaml` says what is run, drawn, printed and claimed. `experiment` reads it, with the words that `measures`
and `panels` define. `laboratory` runs it in several processes and keeps what `measures` needs of each run. `judgement`
compares the runs with the targets and makes tables of them. `findings` writes the report. `command` joins these parts.
"""
