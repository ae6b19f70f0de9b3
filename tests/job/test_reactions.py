"""The table of which loop reacts to which record is whole (docs/architecture.md is generated from it)."""

from __future__ import annotations

from typing import get_args

from muster.job.reactions import REACTIONS
from muster.protocol.records import Record


def test_every_record_of_a_job_has_its_loops() -> None:
    kinds = {kind.KIND for kind in get_args(Record) if "job" in kind.__struct_fields__}
    assert kinds == set(REACTIONS)
    assert all(REACTIONS.values())
