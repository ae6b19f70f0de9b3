"""The limits of fields agree with those of whoever uses them, and a node's own figures stay within them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muster.compression.codec import DENSITY_MAX, CodecError
from muster.compression.codecs.families import parse
from muster.job.participant import update_writer
from muster.job.stop_rule import ROUNDS_MAX
from muster.learning.task import NAME_CHARACTERS_MAX
from muster.network.blobs.chunk_messages import BLOB_BYTES_MAX
from muster.network.sync import ledger as ledgers
from muster.network.sync.admission import Admission, InvalidRecord
from muster.network.sync.ledger import Ledger
from muster.network.trust.certificates import NAME_CHARS_MAX
from muster.network.trust.signing import MEMBERS_MAX, TrustStore, seal
from muster.protocol.ids import NodeId
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Job, Plan, Record, Refusal, Stop
from muster.protocol.validation import checks
from muster.protocol.validation import limits as lim
from muster.protocol.validation.validate import validate
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.storage.disk import DiskStore
from muster.storage.memory import MemoryStore
from muster.storage.store import Store

JOB = Job("t", bytes(32), Recipe(0.1, 1, 4, 0), StopRule(rounds=3), 1, 10.0, b"n")


def test_the_limits_are_those_of_the_readers() -> None:
    assert lim.BLOB_BYTES_MAX == BLOB_BYTES_MAX
    assert lim.NAME_CHARS_MAX == NAME_CHARACTERS_MAX
    assert lim.MEMBER_NAME_CHARS_MAX == NAME_CHARS_MAX
    assert lim.NODES_MAX == MEMBERS_MAX
    assert checks.DENSITY_MAX == DENSITY_MAX
    assert lim.ROUND_MAX > ROUNDS_MAX
    assert lim.RATE_MAX == update_writer.GOODPUT_MAX
    assert lim.RESIDUAL_RATIO_MAX >= update_writer.RESIDUAL_RATIO_MAX
    assert lim.NODES_MAX * lim.TOTAL_MAX < 2**63


@given(
    st.one_of(
        st.sampled_from(["dense32", "dense16", "quant8", "quant4", "auto", "stc:", "stc:0", "topk:0.2", "q"]),
        st.builds(
            lambda family, density: f"{family}:{density}",
            st.sampled_from(["stc", "topk", "topk16", "dense32"]),
            st.one_of(
                st.floats(0, 0.3).map(str),
                st.text(alphabet="0123456789.e-", max_size=8),
                st.floats().map(str),
            ),
        ),
        st.text(max_size=10),
    )
)
def test_a_codec_that_passes_is_one(name: str) -> None:
    """And one that does not pass is none, or so sparse that it sends nothing."""
    try:
        checks.codec("codec", name)
    except checks.Invalid:
        try:
            density = float(parse(name).name.partition(":")[2] or 1)
        except CodecError:
            return
        assert density < checks.DENSITY_MIN or len(name) > lim.CODEC_CHARS_MAX
    else:
        parse(name).estimate_bytes(1000)


@given(st.text(max_size=3000))
def test_a_cleaned_text_passes(text: str) -> None:
    assert validate(Stop(bytes(32), lim.clean(text))) is None


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs"]), max_size=300))
def test_a_clean_text_stays_as_it_is(text: str) -> None:
    assert lim.clean(text) == text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2**63), ("steps", -1), ("batch", 0), ("lr", float("inf")), ("momentum", 1.0),
        ("server_lr", 0.0), ("average", 0), ("lr_end", float("nan")), ("codec", "stc:0"),
    ],
)  # fmt: skip
def test_a_recipe_beyond_its_limits(field: str, value: Any) -> None:
    assert validate(JOB) is None
    wrong = validate(replace(JOB, recipe=replace(JOB.recipe, **{field: value})))
    assert wrong is not None
    assert field in wrong


def ledger(name: str = "a", problems: list[str] | None = None, store: Store | None = None) -> Ledger:
    found = Ledger(
        store or MemoryStore(random.Random(name)), PretendIdentity(name), TrustStore(PretendVerifier()),
        on_problem=(problems if problems is not None else []).append,
    )  # fmt: skip
    for one in "ab":
        found.trust.verify(_member(one))
    return found


def _member(name: str) -> bytes:
    return seal(PretendIdentity(name), PretendIdentity(name).member())[1]


def sealed(name: str, record: Record) -> tuple[bytes, bytes]:
    return seal(PretendIdentity(name), record)


def test_an_own_record_beyond_its_limits_is_a_fault() -> None:
    with pytest.raises(InvalidRecord, match="nobody takes"):
        ledger().publish(Refusal(bytes(32), -1, 1, "no"))
    with pytest.raises(InvalidRecord):
        ledger().keep_unannounced(Plan(bytes(32), bytes(32), 1, (), 1, 1.0))


def test_what_is_refused_is_counted_by_author_and_named_once_a_reason() -> None:
    problems: list[str] = []
    node = ledger("a", problems)
    for number in range(5):
        record_id, wire = sealed("b", Refusal(bytes(32), -1 - number, 1, "no"))
        assert node.receive(wire, b"n" * 32) is None
        assert node.refused(record_id[:8])
    assert node.receive(sealed("b", Refusal(bytes(32), 1, -1, "no"))[1], b"n" * 32) is None
    assert node.refusals.by_author == {PretendIdentity("b").node: 6}
    assert len(problems) == 2
    assert problems[0].startswith("b made a record that is refused: this refusal record cannot be used")
    assert node.store.last_sequence() == 0


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_an_earlier_version_kept_is_set_aside_at_the_start(tmp_path: Path, on_disk: bool) -> None:
    problems: list[str] = []
    node = ledger("a", problems, DiskStore(tmp_path) if on_disk else None)
    for number, record in enumerate([Refusal(bytes(32), 1, 1, "no"), Refusal(bytes(32), -1, 1, "no")]):
        record_id, wire = sealed("b", record)
        node.store.add(record_id, "refusal", bytes(32), wire, bytes([number]) * 32)
    node.store.add(b"g" * 32, "refusal", bytes(32), b"garbage", b"n" * 32)
    node.replay()
    assert [entry.record for entry in node.load("refusal")] == [Refusal(bytes(32), 1, 1, "no")]
    assert len(node.quarantined) == 2
    assert len(problems) == 2
    assert all("is set aside" in problem for problem in problems)
    node.store.close()


def test_what_was_checked_is_not_checked_at_every_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """55,000 records took two seconds and more."""
    problems: list[str] = []
    node = ledger("a", problems)
    for number in range(20):
        record_id, wire = sealed("b", Refusal(bytes(32), number - 10, 1, "no"))
        node.store.add(record_id, "refusal", bytes(32), wire, b"n" * 32)
    node.replay()
    assert len(node.quarantined) == 10
    record_id, wire = sealed("b", Refusal(bytes(32), -77, 1, "no"))
    node.store.add(record_id, "refusal", bytes(32), wire, b"n" * 32)
    looked: list[Record] = []
    real = Admission.fault

    def fault(self: Admission, record: Record, author: NodeId) -> str | None:
        looked.append(record)
        return real(self, record, author)

    monkeypatch.setattr(Admission, "fault", fault)
    again = ledger("a", problems, node.store)
    again.replay()
    assert looked == [Refusal(bytes(32), -77, 1, "no")]
    assert again.quarantined == node.quarantined | {record_id}
    assert any(problem == "10 kept records are set aside, as at the last start" for problem in problems)
    monkeypatch.setattr(ledgers, "RULES", 10_000)  # as in a later version
    ledger("a", problems, node.store).replay()
    assert len(looked) == 1 + 21
