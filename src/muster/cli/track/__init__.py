"""`muster track`: the rounds of a job, written to files and trackers that people already use.

Each target keeps in itself which round it has, so that the next run of the command goes on there.
"""
