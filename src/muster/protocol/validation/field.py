"""The checks of records about models in use: what a node needs, and what it uses."""

from __future__ import annotations

import math
import struct

from muster.protocol.records import Need, Use
from muster.protocol.validation import limits as lim
from muster.protocol.validation.checks import Invalid, identifier, length, number, whole


def task(name: str, fingerprint: bytes) -> None:
    """Raises Invalid."""
    if not 0 < len(name) <= lim.NAME_CHARS_MAX or not all(c.isalnum() or c in "-_." for c in name):
        raise Invalid("the task's name is not made of a few letters, digits, '-', '_' or '.'")
    identifier("the task's fingerprint", fingerprint)


def sketch(what: str, value: bytes) -> None:
    """Finite numbers in fp16, or none. Raises Invalid."""
    length(what, value, 0, lim.LIKE_BYTES_MAX)
    if len(value) % 2:
        raise Invalid(f"{what}: {len(value)} bytes are no list of numbers of 2 bytes")
    if not all(map(math.isfinite, struct.unpack(f"<{len(value) // 2}e", value))):
        raise Invalid(f"{what}: a number is not finite")


def need(record: Need) -> None:
    """Raises Invalid."""
    task(record.task, record.fingerprint)
    whole("incarnation", record.incarnation, 0, lim.INCARNATION_MAX)
    whole("number", record.number, 0, lim.SEQUENCE_MAX)
    whole("epoch", record.epoch, 0, lim.SEQUENCE_MAX)
    sketch("sketch", record.sketch)
    whole("sketch_samples", record.sketch_samples, 0, lim.EXAMPLES_MAX if record.sketch else 0)
    whole("labels", record.labels, 0, lim.EXAMPLES_MAX)
    whole("wrong", record.wrong, 0, record.labels)


def use(record: Use) -> None:
    """Raises Invalid."""
    task(record.task, record.fingerprint)
    whole("incarnation", record.incarnation, 0, lim.INCARNATION_MAX)
    whole("number", record.number, 0, lim.SEQUENCE_MAX)
    for what, value in (("origin", record.origin), ("commit", record.commit), ("former", record.former)):
        if value:
            identifier(what, value)
    if record.commit and not record.origin:
        raise Invalid("origin: a commit is one of a job")
    if record.reason not in lim.USE_REASONS:
        reasons = ", ".join(lim.USE_REASONS)
        raise Invalid(f"reason is one of {reasons}, not {record.reason[: lim.NAME_CHARS_MAX]!r}")
    number("age_s", record.age_s, 0.0, lim.AGE_MAX_S)
    whole("held_n", record.held_n, 0, lim.EXAMPLES_MAX)
    whole("wins", record.wins, 0, record.held_n)
    whole("losses", record.losses, 0, record.held_n - record.wins)
    whole("live_n", record.live_n, 0, lim.EXAMPLES_MAX)
    whole("live_right", record.live_right, 0, record.live_n)
