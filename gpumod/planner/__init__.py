"""Pure decisions: facts in, a plan or refusals out.

`switch.plan_switch` is the one function that a dry run, a preflight, the job queue and a switch itself
call. `target` resolves a request into what it wants, `budget` counts bytes, `placement` and `packing`
find room, `order` makes steps of it, `undo` takes them back, `fits` and `release` are asked again
directly before and between the acts, `status` and `explain` say it in words.
"""
