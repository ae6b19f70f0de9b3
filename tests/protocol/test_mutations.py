"""No nasty value in any field of any record does lasting harm: it is refused, or nobody minds.

The whole table takes some minutes: scripts/mutations.py. Here every field has its turn, some values each.
"""

from __future__ import annotations

import pytest
from mutants import mutants
from poisoned import homes
from tables import NAMES, admission_of, every_mutant, models, table

EVERY = 23


@pytest.mark.parametrize("first", [0, 7, 16])
def test_no_mutant_does_harm(first: int) -> None:
    rows = list(table(EVERY, first))
    assert len(rows) > 60
    assert [row for row in rows if row.outcome not in ("refused", "taken")] == []


def test_the_records_that_are_changed_are_valid_and_all_fields_are_changed() -> None:
    fleet = homes(NAMES)
    admission = admission_of(fleet)
    kinds: dict[str, set[str]] = {}
    fields: dict[str, set[str]] = {}
    for author, record in models(fleet):
        assert admission.fault(record, author) is None
        changed = {path.split(".")[1].split("[")[0] for path, _, _ in mutants(record)}
        kinds[record.KIND] = kinds.get(record.KIND, set()) | changed
        fields[record.KIND] = set(record.__struct_fields__)
    assert kinds == fields
    assert len(kinds) == 15
    assert sum(1 for _ in every_mutant(fleet)) > 2000


def test_each_refusal_is_one_sentence() -> None:
    fleet = homes(NAMES)
    admission = admission_of(fleet)
    found = {admission.fault(record, author) for _, _, author, record in every_mutant(fleet)} - {None}
    assert len(found) > 500
    for sentence in found:
        assert sentence is not None
        assert sentence.startswith("this ")
        assert len(sentence) < 300
        assert sentence.isprintable()
