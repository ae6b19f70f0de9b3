"""Which loop reacts to which kind of record: a table for readers (docs/architecture.md is made from it).

A record is absorbed into its job's view, and then every loop of the node's jobs looks again
(`Context.changes`); those named here may have something to do.  The registry uses the keys alone: they are
the kinds of record that belong to a job, in the order in which they are loaded from the store.  A job's own
record starts its loops.
"""

from __future__ import annotations

#   follow       JobRunner._follow: fetch models and payloads, collect garbage
#   coordinate   Coordinator.run: merge, plan, commit, close
#   work         JobRunner._work: run a trainer session while the job goes on; in a session:
#   train        Participant.run: train what a plan asks, publish the update
#   evaluate     HeadEvaluator.run: measure heads, choose the closing commit
#   contribute   ContributionEstimator.run: estimate what updates were worth
REACTIONS = {
    "commit": ("follow", "coordinate", "work", "train", "evaluate", "contribute"),
    "merge": ("follow", "coordinate", "work", "train", "evaluate"),
    "offer": ("follow", "coordinate"),
    "refusal": ("follow", "coordinate"),
    "shared": ("follow", "coordinate", "train"),
    "plan": ("coordinate", "train", "evaluate", "contribute"),
    "update": ("follow", "coordinate", "evaluate"),
    "measurement": ("coordinate", "work", "train", "evaluate"),
    "contribution": ("follow", "contribute"),
    "stop": ("coordinate", "work", "train", "evaluate"),
}
