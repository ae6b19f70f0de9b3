"""What may be sent to the page's API: one struct a body (docs/api.md). Unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

NodeName = Annotated[str, Meta(min_length=1, max_length=80)]
Share = Annotated[float, Meta(ge=0, le=1)]
TaskName = Annotated[str, Meta(min_length=1, max_length=100)]
HexPrefix = Annotated[str, Meta(pattern="^[0-9a-fA-F]{4,64}$")]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class LinkParameters(_Body, frozen=True):
    """Parameters of one direction of a link; what is None stays."""

    rate_kbit_s: Annotated[float, Meta(gt=0, le=10_000_000)] | None = None
    delay_ms: Annotated[float, Meta(ge=0, le=60_000)] | None = None
    jitter_ms: Annotated[float, Meta(ge=0, le=60_000)] | None = None
    loss: Share | None = None


class Drop(_Body, frozen=True):
    """The link is cut for `for_s` in every `every_s`, first `first_s` from now."""

    every_s: Annotated[float, Meta(ge=1, le=1_000_000)]
    for_s: Annotated[float, Meta(gt=0, le=1_000_000)]
    first_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0


class LinkRequest(_Body, frozen=True):
    """`there` is a to b. `drop` left out: stays as it is; null: no more drops."""

    a: NodeName
    b: NodeName
    there: LinkParameters = LinkParameters()
    back: LinkParameters = LinkParameters()
    preset: Annotated[str, Meta(max_length=40)] | None = None
    drop: Drop | msgspec.UnsetType | None = msgspec.UNSET


class JobRequest(_Body, frozen=True, rename={"start": "from"}):
    """What to train; limits are checked by the node."""

    task: Annotated[str, Meta(max_length=100)] | None = None
    start: HexPrefix | None = None
    rounds: int | None = None
    target: float | Annotated[str, Meta(max_length=60)] | None = None
    stop_when: Annotated[str, Meta(max_length=40)] | None = None
    seconds: float | None = None
    bytes: int | None = None
    bytes_node: int | None = None
    joules: float | None = None
    joules_node: float | None = None
    steps: int | None = None
    lr: float | None = None
    batch: int | None = None
    patience_s: float | None = None
    linger_s: float | None = None
    share: Annotated[str, Meta(max_length=10)] | None = None
    share_bytes: int | None = None


class StopRequest(_Body, frozen=True):
    job: HexPrefix
    reason: Annotated[str, Meta(max_length=200)] = ""


class ExportRequest(_Body, frozen=True):
    job: HexPrefix
    commit: HexPrefix | None = None
    kind: Literal["safetensors", "onnx"] = "safetensors"


class UseRequest(_Body, frozen=True):
    """Put a commit's model into use; `force`: also if it is no better than the one in use."""

    commit: HexPrefix
    force: bool = False


class RollbackRequest(_Body, frozen=True):
    task: TaskName


class LabelRequest(_Body, frozen=True):
    """The label of a sample; `held` as it was given with the sample."""

    task: TaskName
    id: Annotated[int, Meta(ge=0)]
    label: Annotated[int, Meta(ge=0, le=1_000_000)]
    held: bool | None = None


class SessionRequest(_Body, frozen=True):
    token: Annotated[str, Meta(max_length=200)]
