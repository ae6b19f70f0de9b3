"""What a ledger notes in its store besides records."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import msgspec

from muster.protocol.ids import RecordId
from muster.storage.store import StorageError, Store

_REMOVALS = "removals"  # how many records were removed from this store
_CHECKED = "checked"  # by which rules, up to which record, and what is set aside


def note_checked(store: Store, rules: list[int], quarantined: Iterable[RecordId]) -> None:
    """All that is kept now was checked by these rules: the next start need not."""
    with contextlib.suppress(StorageError):
        checked = (rules, store.last_sequence(), sorted(quarantined))
        store.set_state(_CHECKED, msgspec.msgpack.encode(checked))


def checked(store: Store, rules: list[int]) -> tuple[int, list[RecordId]]:
    """Up to which record a store was checked by these rules, and what was set aside."""
    kept = store.state(_CHECKED)
    if kept is None:
        return 0, []
    of, sequence, quarantined = msgspec.msgpack.decode(kept, type=tuple[list[int], int, list[bytes]])
    return (sequence, quarantined) if of == rules else (0, [])


def note_removals(store: Store, count: int) -> None:
    store.set_state(_REMOVALS, msgspec.msgpack.encode(count))


def removals(store: Store) -> int:
    """How many records were removed so far."""
    kept = store.state(_REMOVALS)
    return msgspec.msgpack.decode(kept, type=int) if kept is not None else 0
