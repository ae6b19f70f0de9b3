"""What a node does for others, as its owner sets it under [policy] in node.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from muster.job.owner import hours
from muster.job.owner.allowance import OwnerLimits
from muster.protocol.validation.limits import SHARED_BYTES_MAX

if TYPE_CHECKING:  # with all that jobs need, which commands do without
    from muster.job.context import Policy

METERED_BYTES_PER_DAY = 20_000_000
LABEL_MAX = 65_535


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this node does for others."""

    accept: bool = True  # take part in others' jobs
    tasks: tuple[str, ...] | None = None  # only these; None: all that are installed
    relay: bool = True  # fetch and keep what others want; false: only what this node's own work needs
    disk_limit_mb: float = 2000  # beyond it old models are deleted; records stay
    battery_min: float = 0.2  # charge below which the node offers no work
    # sent and received for others' jobs in a day, payloads and relays; more is refused until the next day
    bytes_per_day: float | None = None  # None: no limit, or 20 MB with `metered`
    joules_per_day: float | None = None  # used for others' jobs in a day
    hours: str | tuple[str, ...] = ()  # "22:00-06:00", or several, by local time; none: always
    cpu_share: float = 1.0  # of the time that the trainer computes in others' jobs, beside `trainer.slowdown`
    metered: bool = False  # bytes cost money: no relaying, nothing fetched ahead, the smallest messages
    share: Literal["none", "means", "samples"] = "none"  # of its data that jobs may have which ask for it
    share_kb: float = 100  # that one job may have of it
    share_classes: tuple[int, ...] | None = None  # labels whose samples may travel; None: all
    adapt: Literal["like", "never"] = "like"  # train with nodes to whose models in use the same happened
    ask_per_day: int = 4  # jobs that this node asks for by itself, to adapt a model in use; 0: none
    ask_mb_per_day: float = 100  # that it sends and receives in such jobs in a day


LIMITS: tuple[tuple[str, float, float], ...] = (
    ("disk_limit_mb", 1, 1e9),
    ("battery_min", 0, 1),
    ("bytes_per_day", 1, 1e14),
    ("joules_per_day", 0.001, 1e12),
    ("cpu_share", 0.01, 1),
    ("ask_per_day", 0, 1000),
    ("ask_mb_per_day", 0.001, 1e8),
    ("share_kb", 0.1, SHARED_BYTES_MAX / 1000),
)


def wrong_key(policy: PolicyConfig) -> tuple[str, str] | None:
    """The key whose value cannot be, though within `LIMITS`, and a sentence that says why; or None."""
    try:
        owner_limits(policy)
    except ValueError as error:
        return "hours", str(error)
    if policy.share_classes == ():
        return "share_classes", 'no label is left: leave the key out for all, or write share = "none"'
    wrong = [label for label in policy.share_classes or () if not 0 <= label <= LABEL_MAX]
    return ("share_classes", f"{wrong[0]} is no label: they are 0 to {LABEL_MAX}") if wrong else None


def owner_limits(policy: PolicyConfig) -> OwnerLimits:
    """What the owner lets others use, with its defaults."""
    given = policy.bytes_per_day
    if given is None and policy.metered:
        given = METERED_BYTES_PER_DAY
    spans = hours.parse(policy.hours) if policy.hours else ()
    bytes_per_day = None if given is None else int(given)
    return OwnerLimits(bytes_per_day, policy.joules_per_day, spans, policy.cpu_share, policy.metered)


def policy_of(policy: PolicyConfig) -> Policy:
    """The policy as jobs see it."""
    from muster.job.adapting.budget import AskLimits
    from muster.job.context import Policy, SharePolicy

    share = SharePolicy(policy.share, int(policy.share_kb * 1000), policy.share_classes)
    return Policy(
        policy.accept, policy.tasks, policy.battery_min, int(policy.disk_limit_mb * 1e6), policy.relay,
        owner_limits(policy), share, policy.adapt == "like",
        AskLimits(policy.ask_per_day, int(policy.ask_mb_per_day * 1e6)),
    )  # fmt: skip
