from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from histories import BRANCH, FIRST, ID, LAYOUT, ROOT, A, entry, view_of, with_params
from msgspec.structs import replace

from muster.history.graph import merge_of
from muster.job.models.store import ModelStore
from muster.protocol.ids import NOBODY
from muster.protocol.records import Commit
from muster.storage.memory import MemoryStore


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
    models.keep_merge(merge_id, models.merger(a.id, b.id)())
    assert [h.id for h in models.heads()] == [merge_id]


def test_a_model_that_cannot_be_the_tasks_is_no_head_once_the_task_is_known() -> None:
    """Any member can write such a commit, with parameters that are held: it must not stop the job."""
    for change in ({}, {"params_bytes": 9}):
        store = MemoryStore(random.Random(1))
        root = with_params(store, None, ROOT, 0.0)
        assert isinstance(root.record, Commit)
        change |= {"parents": (root.id,), "joined": (), "shape": bytes(8) + b"\x80"}
        forged = entry(A, replace(root.record, **change))
        view = view_of([root, forged])
        assert view.graph.refused == {}
        context: Any = SimpleNamespace(store=store)
        models = ModelStore(context, view)
        assert [h.id for h in models.heads()] == [forged.id]
        models.learn_layout(LAYOUT)
        assert [h.id for h in models.heads()] == [root.id]
        assert [h.id for h in models.known_heads()] == [root.id]
        assert not models.held(forged.id)
    other = entry(A, replace(root.record, params_bytes=9))
    models = ModelStore(context, view_of([other]))
    models.learn_layout(LAYOUT)
    assert models.heads() == []
