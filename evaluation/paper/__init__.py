"""The published evaluation of VTC, repeated in virtual time and gone past: `vtc-gateway paper`.

`experiments.yaml` says what is run, drawn, printed and claimed; `experiment` reads it, with the words that `measures`
and `panels` give it. `laboratory` runs it in several processes and keeps what `measures` needs of each run; `judgement`
holds the runs against the targets and makes tables of them; `findings` tells them. `command` puts it together.
"""
