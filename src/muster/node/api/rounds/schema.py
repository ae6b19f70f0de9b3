"""The rounds of a job as values: what the Python API iterates over and trackers write, sent as JSON.

Times are seconds of the job's age; ids are hex; shares are 0..1; bytes are those that nodes sent for the job.
"""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, frozen=True):
    """What one node gave to a round."""

    updates: int  # counted, its own
    steps: int  # that it did, also in the place of others
    examples: int  # of its samples processed, also by others in its place: steps x batch
    late: int  # of the updates: made on an older model than the round's
    share: float  # of the round's examples, 0..1
    value: float | None = None  # held-out loss that they took away, in nats; None: not known (yet)
    stood_in: int = 0  # updates that others trained on its shared samples in its place


class Round(msgspec.Struct, frozen=True):
    """A round that was done: the model's figures, and what became part of it since the round before."""

    number: int  # from 1 on
    commit: str  # 64 hex digits: `muster show`, `muster train --from`
    age_s: float  # the job's age at which it was made
    coordinator: str  # name of the node that made it; "" for a merge, which all nodes compute
    # round | merge: two histories became one, as a divided network was healed | closing: the job's best
    # model, or the mean of its last ones, which ends it and counts nothing; the number of neither is its own
    kind: str
    metrics: dict[str, float]  # by name, such as accuracy (0..1) and loss (nats); {}: not measured
    measured: int  # held-out samples that the metrics are of
    contributions: dict[str, Part]  # by the node's name
    steps: int  # of all nodes, in this round
    examples: int  # samples processed by all nodes, in this round
    bytes: int  # sent for the job since the round before
    bytes_total: int  # of the job up to here
    settled: bool = True  # nothing of the above is expected to change
    joules: float | None = None  # used by all nodes for the job up to here; None: none of them knows

    @property
    def participants(self) -> list[str]:
        """Names of the nodes whose updates the round counts."""
        return list(self.contributions)


class Rounds(msgspec.Struct, frozen=True):
    """The answer to `rounds`: how the job is, and the rounds after the one that was named, oldest first."""

    job: str
    task: str
    state: str  # waiting | running | finished | stopped | failed
    why: str  # one sentence: what it is doing or waiting for
    over: bool  # there will be no further round, as far as this node knows
    error: str | None  # why this node takes no part
    age_s: float
    metrics: dict[str, str]  # name -> max or min: which is better; the first is the headline
    recipe: dict[str, float | str]
    rounds: list[Round]
    more: bool  # there are further ones already: ask again
    event: int  # number of the last event of the node's log that this answer includes
