"""When a job that adapts a model ends before its rounds are done: everybody in it has said that it needs no
more."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from muster.protocol.ids import NodeId

NOT_CONCERNED = "not concerned: "  # how the refusal begins of a node that such a job is not, or no more, for
UNNEEDED = "nobody needs it any more"


def unneeded(asker: NodeId, offered: Collection[NodeId], refusals: Mapping[NodeId, str]) -> bool:
    """Whether the last answers of the asker and of all nodes that ever offered are that it is no concern of
    theirs: their needs are met, or are of other conditions or another version of the task by now.

    Needs themselves would not do: a node's next one is of other conditions, and would open the job again.
    Who is out for another reason, such as its battery, comes back to its need.
    """
    return all(refusals.get(node, "").startswith(NOT_CONCERNED) for node in (asker, *offered))
