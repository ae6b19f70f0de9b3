"""Which codec each message of a round takes, by what the job's history shows of links and messages.

The rules for one message are `planning.codec_choice`, those for one link `planning.links`; here they are
applied to all nodes of a round and to the commit that closes it, and it is decided which messages are probes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from muster.planning.codec_choice import (
    LADDER,
    CodecChoice,
    Message,
    SentMessage,
    choose_probe,
    down_choice,
    fixed,
    time_limited,
    up_choice,
)
from muster.planning.links import (
    PROBE_S,
    LinkEstimate,
    Probe,
    estimate_link,
    extra_for_all_s,
    next_probe,
)
from muster.planning.state import NodeState, PlannerState
from muster.protocol.ids import NodeId
from muster.protocol.records import INLINE_BYTES_MAX, UPDATE_INLINE_BYTES_MAX, Job


@dataclass(frozen=True)
class Peer:
    """A node of a round: the goodput that it reported, if any; `local`: the coordinator itself."""

    node: NodeId
    reported_bytes_s: float | None = None
    local: bool = False


@dataclass(frozen=True)
class MessagePlan:
    """The choice for each node's update and for the commit, with the links as they are estimated."""

    up: Mapping[NodeId, CodecChoice]
    down: CodecChoice
    links: Mapping[NodeId, LinkEstimate]

    def size_bytes(self, node: NodeId) -> int:
        """What crosses a node's link in a round, in both directions."""
        return self.up[node].size_bytes + self.down.size_bytes

    def seconds(self, node: NodeId, head_bytes: int) -> float | None:
        """What the messages of a round take a node, the head's own message among them; None: not known."""
        link = self.links[node]
        if link.goodput_bytes_s:
            return link.latency_s + (self.up[node].size_bytes + head_bytes) / link.goodput_bytes_s
        return link.latency_s or None  # as long as those so far, which were of like sizes


def plan_messages(
    job: Job, contents: Message, by_rows: bool, state: PlannerState, peers: Sequence[Peer], steps_s: float,
    *, probing: bool, denser: int = 0,
) -> MessagePlan:  # fmt: skip
    """The messages of a round whose steps take the median node `steps_s`.

    `contents`: of an update of the model; `by_rows`: rows that nobody touched are not sent.  `denser`: so
    many rungs of the ladder up, or down if negative, where the codecs are the planner's choice.
    """
    links, slowest, at_least = _links(state, peers)
    compute_s = steps_s + max(link.latency_s for link in links.values())

    def message(last: Sequence[SentMessage]) -> Message:
        return contents.after(last) if by_rows else contents

    ups: dict[NodeId, CodecChoice] = {}
    for peer in peers:
        sent, link = _known(state, peer.node).sent, links[peer.node]
        floor = link.at_least_bytes_s or 0.0
        ups[peer.node] = up_choice(job, message(sent), link.goodput_bytes_s, compute_s, sent, floor)
    down = down_choice(job, message(state.down), slowest, compute_s, state.down, at_least)
    if probing and time_limited(job.stop) and not state.steering.probe:
        # after a commit that was a probe, the next round measures what it showed
        down = _down_probe(job, message(state.down), down, ups, links, state, peers, compute_s)
        if not down.probe and job.recipe.codec == "auto":
            for peer in [p for p in peers if not p.local]:
                known = _known(state, peer.node)
                probe = next_probe(known.samples, links[peer.node], compute_s)
                found = choose_probe(message(known.sent), ups[peer.node], state.message_bytes, probe)
                pulled = ups[peer.node].size_bytes <= UPDATE_INLINE_BYTES_MAX < found.size_bytes
                if not (pulled and links[peer.node].latency_s > PROBE_S):
                    ups[peer.node] = found
    if denser:
        if job.recipe.codec == "auto":
            ups = {n: _shifted(c, message(_known(state, n).sent), denser) for n, c in ups.items()}
        if job.recipe.down_codec == "auto":
            down = _shifted(down, message(state.down), denser)
    return MessagePlan(ups, down, links)


def _known(state: PlannerState, node: NodeId) -> NodeState:
    return state.nodes.get(node, NodeState())


def _links(
    state: PlannerState, peers: Sequence[Peer]
) -> tuple[dict[NodeId, LinkEstimate], float | None, float]:
    """The link to each node, the lowest goodput of all (None: one is not known), and a lower bound of it.

    The coordinator's own update crosses no link now; some day another node may coordinate, so its link is
    taken to be like the slowest.
    """
    links = {
        p.node: estimate_link(_known(state, p.node).samples, p.reported_bytes_s or None)
        for p in peers
        if not p.local
    }
    known = [link.goodput_bytes_s for link in links.values()]
    slowest = None if None in known else min((g for g in known if g is not None), default=None)
    floors = {node: link.floor_bytes_s() or 0.0 for node, link in links.items()}
    counted = [floor for node, floor in floors.items() if floor or node in state.nodes]
    at_least = min(counted, default=0.0)  # a new node may be like the others
    mine = LinkEstimate(0.0, slowest, None if slowest is not None else at_least)
    return links | {p.node: mine for p in peers if p.local}, slowest, at_least


def _down_probe(
    job: Job, contents: Message, usual: CodecChoice, ups: Mapping[NodeId, CodecChoice],
    links: Mapping[NodeId, LinkEstimate], state: PlannerState, peers: Sequence[Peer], compute_s: float,
) -> CodecChoice:  # fmt: skip
    """The commit's codec; a commit that is a probe measures all links at once, so it goes before any other
    probe, as long as it fits into its record."""
    if job.recipe.down_codec != "auto":
        return usual
    others = [p.node for p in peers if not p.local]
    wanted = {n: next_probe(_known(state, n).samples, links[n], compute_s, for_all=True) for n in others}
    probes = [(p, ups[n].size_bytes) for n, p in wanted.items() if p is not None]
    if not probes:
        return usual
    over = max(p.over - up_bytes for p, up_bytes in probes)
    most = min(p.most - up_bytes for p, up_bytes in probes)
    extra_s = extra_for_all_s(compute_s)
    for link in (links[n] for n in others if wanted[n] is None):
        most = min(most, usual.size_bytes + extra_s * (link.floor_bytes_s() or 0.0))
    found = choose_probe(contents, usual, 0, Probe(over, min(most, INLINE_BYTES_MAX), 0.0))
    return found if found.size_bytes > usual.size_bytes else usual


def _shifted(choice: CodecChoice, contents: Message, rungs: int) -> CodecChoice:
    """A choice so many rungs further up or down the ladder, as far as that goes."""
    if choice.codec not in LADDER:
        return choice
    at = LADDER.index(choice.codec)
    name = LADDER[min(len(LADDER) - 1, max(0, at + rungs))]
    if name == choice.codec:
        return choice
    why = "what is left of the budget allows " + ("more" if rungs > 0 else "no more")
    return replace(fixed(name, contents, None), why=why)
