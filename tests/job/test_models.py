from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
from test_job_view import BRANCH, FIRST, ID, ROOT, commit, entry, view_of

from muster.compression.tensors import pack
from muster.history.graph import merge_of
from muster.job.models.store import ModelStore
from muster.network.sync.ledger import Entry
from muster.protocol.records import NOBODY, Commit
from muster.simulation.trainers.linear import layout_of
from muster.storage.memory import MemoryStore

LAYOUT = layout_of(4)


def with_params(store: MemoryStore, parent: Entry | None, like: Entry, value: float) -> Entry:
    """A commit like another one, whose parameters are held."""
    assert isinstance(like.record, Commit)
    blob = store.put_blob(pack(LAYOUT, {"w": np.full(4, value, np.float32)}))
    return commit(parent, *like.record.folded, params=blob, author=like.author)


def test_a_merge_whose_record_came_first_is_held_once_it_is_computed() -> None:
    """Else its parents stay the heads, and a coordinator merges them again and again (seed 1032 once)."""
    store = MemoryStore(random.Random(1))
    root = with_params(store, None, ROOT, 0.0)
    a, b = with_params(store, root, FIRST, 1.0), with_params(store, root, BRANCH, 2.0)
    merge_id, record = merge_of(ID, a.id, b.id)
    view = view_of([root, a, b, entry(NOBODY, record)])
    context: Any = SimpleNamespace(store=store)
    models = ModelStore(context, view)
    models.learn_layout(LAYOUT)
    assert {h.id for h in models.heads()} == {a.id, b.id}
    models.keep_merge(merge_id, a.id, b.id)
    assert [h.id for h in models.heads()] == [merge_id]
