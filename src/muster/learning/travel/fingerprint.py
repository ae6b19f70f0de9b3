"""A task's fingerprint, which nodes must share, and what differs where they do not.

16 bytes  SHA-256 of name, version, and the tensors' names, shapes and dtypes, but for local ones
 8 bytes  which buffers travel: the exclusive or of a hash of each of their names
 8 bytes  what is frozen or constant: the exclusive or of the hashes of their contents
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import combinations

from muster.learning.task import other_version
from muster.learning.travel.kinds import AVERAGED, CONSTANT, COUNTED, FROZEN, LOCAL, TRAINED, Travelling

_BUFFERS = (AVERAGED, COUNTED, CONSTANT)
TOGETHER_MAX = 3  # buffers that are looked for together
TRIES_MAX = 1_000_000


def fingerprint(name: str, version: str, travelling: Travelling) -> bytes:
    """The 32 bytes for a task of this name and version."""
    rows = [
        [t.name, list(t.shape), t.dtype, t.kind if t.kind in (TRAINED, FROZEN) else "buffer", t.tied_to]
        for t in travelling.tensors
        if t.kind != LOCAL
    ]
    text = json.dumps([name, version, rows], separators=(",", ":"), ensure_ascii=True)
    head = hashlib.sha256(b"muster-task\x02" + text.encode()).digest()[:16]
    buffers = _xor(_of(name) for name in travelling.of(AVERAGED, COUNTED))
    return head + buffers + _xor(travelling.fixed.values())


def differs_in_fixed(mine: bytes, other: bytes) -> bool:
    """Whether two fingerprints differ, and in nothing but what is frozen or constant."""
    return mine[:24] == other[:24] and mine != other


def differs(name: str, version: str, travelling: Travelling, other: bytes) -> str:
    """What another node's fingerprint says that is not so here: a sentence with what to do."""
    mine = fingerprint(name, version, travelling)
    if mine[:16] != other[:16]:
        return other_version(name, mine, other)
    if mine[16:24] != other[16:24]:
        return _other_buffers(travelling, _xor((mine[16:24], other[16:24])))
    fixed = list(travelling.fixed)
    more = f" or another of {len(fixed)} tensors" if len(fixed) > 1 else ""
    return (
        f"what is frozen or constant in the model of the task {name!r} is not the same here as in the job "
        f"({fixed[0]!r}{more}): give every node the same file, or list what may differ in the task's `local`"
    )


def _other_buffers(travelling: Travelling, difference: bytes) -> str:
    """Which buffers change in training on one of two nodes alone."""
    kinds = {t.name: t.kind for t in travelling.tensors if t.kind in _BUFFERS and not t.tied_to}
    for count in range(1, TOGETHER_MAX + 1):
        if len(kinds) ** count > TRIES_MAX:
            break
        for names in combinations(kinds, count):
            if _xor(map(_of, names)) == difference:
                changes = kinds[names[0]] != CONSTANT
                here, there = ("changes", "not") if changes else ("does not change", "it does")
                return (
                    f"the buffer {' and '.join(map(repr, names))} {here} in a step of training on the data "
                    f"here, and {there} at the node that asked: list it in the task's `local`, or let it "
                    "change with any data"
                )
    return (
        f"some of the model's {len(kinds)} buffers, such as {next(iter(kinds))!r}, change in a step of "
        "training here and not at the node that asked, or there and not here: list them in the task's `local`"
    )


def _of(name: str) -> bytes:
    return hashlib.sha256(b"buffer\x00" + name.encode()).digest()[:8]


def _xor(hashes: Iterable[bytes]) -> bytes:
    found = 0
    for one in hashes:
        found ^= int.from_bytes(one, "big")
    return found.to_bytes(8, "big")
