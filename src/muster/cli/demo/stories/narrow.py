"""`muster demo --story narrow`: nine nodes around one on links that carry a thousand bytes a second."""

from __future__ import annotations

from typing import Any

SCENARIO = "narrow-9"
TASK: dict[str, str | int] = {"model": "cnn6k"}  # of mnist: about 6,000 parameters
OPTIONS: dict[str, Any] = {"patience_s": 90.0, "min_nodes": 8}
# Few large rounds: on such links every record weighs (docs/notes/2026-11-23-bytes-of-a-round.md).
MNIST: dict[str, Any] = {
    "rounds": 36,
    "lr": 0.1,
    "lr_end": 0.1,
    "batch": 16,
    "steps": 50,
    "server_momentum": 0.0,
    "codec": "stc:0.07",
    "down_codec": "stc:0.07",
}
# One contact: what nodes send is samples, and the rate falls to 0 over the steps.
MNIST_ONE_SHOT: dict[str, Any] = {"lr": 0.1, "batch": 32}
