"""The limits of every field of every record, and how a node keeps its own figures within them.

A counter that grows with what others say is cut off at its limit (`counter`), so that a record at the limit
does not make the next one impossible.  All whole numbers stay below 2^53, so that every reader of JSON has
them exactly, and so do sums over a fleet below 2^63.
"""

from __future__ import annotations

import re

ID_BYTES = 32
NODES_MAX = 4096  # in one list
NAME_CHARS_MAX = 64  # of a task
MEMBER_NAME_CHARS_MAX = 32
STOPPERS_MAX = 64  # that a job names
STANDS_MAX = 64  # records of a revoked member that its revocation names
CODEC_CHARS_MAX = 32
TEXT_CHARS_MAX = 2000  # of a reason
CERTIFICATE_BYTES_MAX = 16 * 1024
NONCE_BYTES_MAX = 64
METRICS_MAX = 16  # of a job, and figures of a measurement
METRIC_CHARS_MAX = 32
TARGET_MAX = 1e15  # of a metric

SHARE = ("none", "auto", "always")  # of a job
SHARED_KINDS = ("samples", "medoids", "means", "robust")
SHARED_CODEC = "coreset"
SHARED_BYTES_MAX = 64 * 1024**2  # of one node's coreset
SHARED_SAMPLES_MAX = 1_000_000

LIKE_BYTES_MAX = 256  # of a sketch in fp16
USE_REASONS = ("first", "adopted", "forced", "returned", "rolled back")

WIDTH_MIN = 0.01  # of a job
SHAPE_BYTES_MIN, SHAPE_BYTES_MAX = 9, 8 + 65_536 // 8  # which structure, and a bit for each channel

ROUND_MAX = 1_000_000
DIGEST_ROUNDS = 16  # commits of every sixteenth round carry a digest of the whole state (history/state.py)
DIGEST_BYTES = 32
STEPS_MAX = 1_000_000  # of one update
BATCH_MAX = 65536
AVERAGE_MAX = 64
INCARNATION_MAX = (1 << 31) - 1
SEQUENCE_MAX = (1 << 31) - 1  # also of the numbers of offers and plans
SEED_MIN, SEED_MAX = -(1 << 63), (1 << 63) - 1  # what the trainer can be seeded with
EXAMPLES_MAX = 1 << 40  # of one update, or one evaluation
BLOB_BYTES_MAX = 16 * 1024**3
TOTAL_MAX = 1 << 48  # of a node's steps, examples or bytes in a job: 281 TB
RATE_MAX = (1 << 31) - 1  # bytes a second
RESIDUAL_RATIO_MAX = 1_000_000  # tenths

MOMENTUM_MAX = 0.9999  # nearer to 1 the plain steps that it amounts to are lost in rounding
LR_MAX = 1e6
PATIENCE_MIN_S, PATIENCE_MAX_S = 0.1, 1e7
AGE_MAX_S = 1e9  # of a job: 31 years
STEP_MAX_S = 1e6
SPAN_MAX_MS = 1 << 40  # of one update: 34 years
WATTS_MAX = 1e6
EXCHANGE_MAX_J = 1e6  # of a radio, for a byte or an exchange
MILLIJOULES_MAX = 1 << 48  # of one update
DEADLINE_MAX_S = 1e9
WEIGHT_MAX = 1e6
FIGURE_MAX = 1e300  # of a loss, a norm or joules: sums of them stay finite

_UNCLEAN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")  # steer a terminal


def counter(value: int) -> int:
    """A total that grew, cut off at its limit."""
    return min(TOTAL_MAX, value)


def has_digest(round_: int) -> bool:
    """Whether commits of a round carry a digest of the whole state; a first commit never does."""
    return round_ > 0 and round_ % DIGEST_ROUNDS == 0


def tenths(ratio: float) -> int:
    """|residual| / |update| as a record has it."""
    return min(RESIDUAL_RATIO_MAX, round(10 * ratio))


def is_clean(text: str) -> bool:
    """Whether a text holds nothing that steers a terminal."""
    return _UNCLEAN.search(text) is None


def clean(text: str) -> str:
    """A text as a record may hold it: cut off at its limit, without what steers a terminal."""
    text = _UNCLEAN.sub(" ", text.encode("utf-8", "replace").decode())
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 3] + "..."
