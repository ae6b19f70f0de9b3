"""How a node comes and goes: the spells for which it was heard here, and those for which it was not."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from muster.storage.store import StorageError, Store

SPELLS_KEPT = 8  # of each kind, of one node, the newest
SPELL_MAX_S = 1e9  # of one that is kept: 31 years


@dataclass(frozen=True)
class Spells:
    """Of one node, the newest last."""

    here_s: tuple[float, ...] = ()  # how long it stayed before it went
    away_s: tuple[float, ...] = ()  # how long it was away before it came back
    here_for_s: float = 0.0  # from its first to its last sign of life since it came
    silent_s: float = 0.0  # since that last one
    off: bool = False  # its daemon was started again when it was away last
    whole: bool = False  # it was heard from the beginning of its time here

    def came_back(self, away_s: float, *, off: bool) -> Spells:
        """It was heard again after `away_s`, with which another time here begins.

        The time before counts if it is known from its beginning, or is the longest although it is not.
        """
        here_s = self.here_s
        if self.whole or self.here_for_s > max(here_s, default=0.0):
            here_s = (*here_s, self.here_for_s)[-SPELLS_KEPT:]
        return Spells(here_s, (*self.away_s, away_s)[-SPELLS_KEPT:], off=off, whole=True)


_Kept: TypeAlias = dict[bytes, tuple[list[float], list[float], bool]]
NONE = Spells()
_KEY = "spells"


def load_spells(store: Store) -> dict[bytes, Spells]:
    """By node, what an earlier process of this node kept."""
    return decode_spells(store.state(_KEY))


def note_spells(store: Store, known: Mapping[bytes, Spells]) -> None:
    """Keep how nodes come and go, if it is news."""
    kept = encode_spells(known)
    if kept != (store.state(_KEY) or encode_spells({})):
        with contextlib.suppress(StorageError):  # a full disk: it is learnt again
            store.note_state(_KEY, kept)


def encode_spells(known: Mapping[bytes, Spells]) -> bytes:
    """The finished spells of nodes that were away, as a node keeps them over its restarts."""
    kept = {node: (s.here_s, s.away_s, s.off) for node, s in known.items() if s.away_s}
    return msgspec.msgpack.encode(kept)


def decode_spells(kept: bytes | None) -> dict[bytes, Spells]:
    """What `encode_spells` wrote; nothing from bytes that it cannot have written."""
    try:
        found = msgspec.msgpack.decode(
            kept or b"\x80", type=dict[bytes, tuple[list[float], list[float], bool]]
        )
    except msgspec.MsgspecError:
        return {}
    return {
        node: Spells(tuple(here_s[-SPELLS_KEPT:]), tuple(away_s[-SPELLS_KEPT:]), off=off)
        for node, (here_s, away_s, off) in found.items()
        if all(0 <= s <= SPELL_MAX_S for s in here_s + away_s)
    }
