"""A node in figures, for who watches many of them: sent as JSON and bounded in size."""

from __future__ import annotations

import msgspec

from muster.node.api.snapshot import SentView

JOBS_MAX = 32  # the newest, those that go on first
LINKS_MAX = 64  # by name; the bytes of further ones are summed up as `OTHERS`
OTHERS = "others"


class LinkGauges(msgspec.Struct, frozen=True):
    """A neighbour, or what there is of many of them."""

    node: str  # name
    sent_bytes: int
    received_bytes: int
    rtt_s: float | None = None
    goodput_bytes_s: float | None = None


class JobGauges(msgspec.Struct, frozen=True):
    """A job in the node's memory."""

    id: str
    task: str
    state: str  # waiting | running | finished | stopped | failed
    round: int  # of the head
    heads: int  # that are not merged
    age_s: float
    spent_bytes: int
    model_bytes: int
    participants: int  # that offered to help
    refusing: int  # that take no part
    updates: int  # counted by the head's history
    coordinating: bool  # this node is the coordinator
    metrics: dict[str, float]  # of the head, when it was measured
    measured: int  # held-out samples
    joules: float | None = None  # used by all nodes for it; None: none of them knows what it draws


class Gauges(msgspec.Struct, frozen=True):
    """The answer to `gauges`."""

    id: str
    name: str
    version: str
    state: str
    uptime_s: float
    battery: float | None
    memory_bytes: int
    disk_bytes: int
    disk_limit_bytes: int
    disk_free_bytes: int  # of the file system that the home is on
    members: int  # of the fleet, this node included
    reachable: int  # of these, over others too; this node not included
    neighbours: int
    links: list[LinkGauges]
    sent: SentView
    loops: dict[str, int]  # how many are well, late, restarting
    loop_faults: int  # in the last ten minutes
    refused: dict[str, int]  # records, since the start, by reason
    wrong_blobs: int  # that did not have the hash they were asked for by
    fetching: int  # blobs
    jobs: list[JobGauges]
    jobs_left_out: int  # in memory, but not in `jobs`
    jobs_stored: int  # in the store only
    now_w: float | None = None  # that the node draws as it is now; None: not known
    used_j: float | None = None  # since its start; None: nothing is counted
