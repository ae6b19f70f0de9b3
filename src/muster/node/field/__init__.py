"""The daemon's side of adaptation: what a node does about a deployed model as conditions change around it.

`decide.py` says what is due, as a pure function of a `Situation`; `looking.py` and `among.py` find the
situation in files and records; `task_loop.py` does what is due, a loop for each served task.
"""
