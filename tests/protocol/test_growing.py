"""Records of a later version: what is left out, what is passed over, what is kept without being acted on."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from generators import Around, ByChance, Generator
from muster.history.graph import Graph
from muster.network.sync.ledger import Ledger
from muster.network.trust.signing import TrustStore, seal
from muster.protocol.envelope import FORMAT, RecordError, Signed, decode, encode, id_of, pack, unpack
from muster.protocol.ids import NOBODY
from muster.protocol.parts import Payload, Recipe, StopRule
from muster.protocol.records import Commit, Job, Member, Merge, Offer, Record, Stop, Update
from muster.protocol.trimming import NESTING_MAX, shape_of
from muster.protocol.versions import VERSION, Unknown, needs
from muster.protocol.vocabulary import CURRENT, Vocabulary
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.storage.memory import MemoryStore

pack_raw = msgspec.msgpack.Encoder().encode
A, B = PretendIdentity("alpha"), PretendIdentity("bravo")
JOB = bytes(range(32))
OFFER = Offer(JOB, 3, 1, 600, 0.5)
LATER = 200  # a tag that no kind has
START = Commit(JOB, (), 0, (), (A.node,), (), 0.0, JOB, 40)
AROUND = Around(JOB, (A.node, B.node), tuple(Graph().add(id_of(A.node, START), A.node, START)))


def whole(record: Record) -> list[Any]:
    """All its fields, those with their defaults included; not those of what is inside."""
    shape = shape_of(type(record))
    return [*shape.head, *map(_without_defaults, shape.values(record, shape.size))]


def _without_defaults(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_without_defaults(one) for one in value]
    return shape_of(type(value)).trim(value) if isinstance(value, msgspec.Struct) else value


def later(signer: PretendIdentity, body: list[Any], needs: int = VERSION + 1) -> bytes:
    plain = Signed(FORMAT, signer.node, needs, pack_raw(body), b"")
    return pack(msgspec.structs.replace(plain, signature=signer.sign(plain.id)))


def ledger() -> Ledger:
    made = Ledger(MemoryStore(random.Random(1)), A, TrustStore(PretendVerifier()))
    for who in (A, B):
        made.receive(seal(who, who.member())[1], b"")
    return made


# ---- fields ----------------------------------------------------------------------------------------------


def test_defaults_at_the_end_are_left_out() -> None:
    assert msgspec.msgpack.decode(encode(OFFER)) == whole(OFFER)[:6]
    assert decode(encode(OFFER)) == OFFER
    measured = msgspec.structs.replace(OFFER, goodput_bytes_s=7)
    assert msgspec.msgpack.decode(encode(measured)) == whole(measured)[:9]


def test_so_they_are_inside_a_record_and_in_the_rows_of_a_table() -> None:
    job = Job("mnist", JOB, Recipe(0.1, 32, 20, 0), StopRule(rounds=9), 1, 20.0, b"n")
    assert msgspec.msgpack.decode(encode(job)) == [2, "mnist", JOB, [0.1, 32, 20, 0], [9], 1, 20.0, b"n"]
    update = Update(JOB, JOB, 1, 2, 3, 4, 5, 0.5, Payload("q8", 3, inline=b"abc"))
    assert msgspec.msgpack.decode(encode(update))[-1] == ["q8", 3, b"abc"]


@pytest.mark.parametrize("seed", range(200))
def test_any_record_comes_back_and_grows(seed: int) -> None:
    record = Generator(ByChance(random.Random(seed)), AROUND).record()[1]
    body = encode(record)
    assert encode(decode(body)) == body
    grown = pack_raw([*whole(record), "new", [1, [b"x"], 2.5], None])
    again = CURRENT.read(grown, VERSION)
    assert not isinstance(again, Unknown)
    assert encode(again) == body
    assert len(body) <= len(pack_raw(record))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: [*raw, None],  # a known default, and nothing after it
        lambda raw: [*raw[:5], 1],  # a whole number in the place of another
        lambda raw: raw[:5],
        lambda raw: [*raw[:1], [JOB], *raw[2:]],
    ],
)
def test_what_no_version_writes_is_refused(change: Any) -> None:
    with pytest.raises(RecordError):
        CURRENT.read(pack_raw(change(whole(OFFER)[:6])), VERSION)


def test_new_fields_are_in_canonical_form_too() -> None:
    def grown(last: bytes) -> bytes:
        raw = pack_raw([*whole(OFFER), 0])
        return raw[:-1] + last

    assert CURRENT.read(grown(b"\x05"), VERSION) == OFFER
    for last in (b"\xcc\x05", b"\xca" + bytes(4), b"\x80", b"\xd4\x01x", b"\x05\x05", b""):
        with pytest.raises(RecordError):
            CURRENT.read(grown(last), VERSION)
    deep: list[Any] = []
    for _ in range(NESTING_MAX):
        deep = [deep]
    with pytest.raises(RecordError, match="lists in lists"):
        CURRENT.read(pack_raw([*whole(OFFER), deep]), VERSION)


def test_a_grown_record_is_kept_as_it_came() -> None:
    node, heard = ledger(), []
    node.listeners.append(heard.append)
    wire = later(B, [*whole(OFFER), "new"], needs=1)
    record_id = node.receive(wire, B.node)
    assert record_id == unpack(wire).id != id_of(B.node, OFFER)
    assert [entry.record for entry in heard] == [OFFER]
    kept = node.store.get(record_id or b"")
    assert kept is not None
    assert (kept.wire, kept.kind, kept.job) == (wire, "offer", JOB)


# ---- kinds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "needs", "job"),
    [
        ([LATER, JOB, 1, "x"], VERSION + 1, JOB),
        ([LATER, JOB, 1, "x"], 1, JOB),  # by whom does not matter: this version does not know it
        ([LATER, "alpha", 3], VERSION + 1, b""),
        ([LATER], VERSION + 1, b""),
        ([3, JOB, "what it means is another thing now"], VERSION + 1, JOB),
    ],
)
def test_a_record_of_a_later_version_is_kept_and_no_more(body: list[Any], needs: int, job: bytes) -> None:
    node, heard = ledger(), []
    node.listeners.append(heard.append)
    wire = later(B, body, needs)
    record_id = node.receive(wire, B.node)
    assert [entry.record for entry in heard] == [Unknown(body[0], needs, job)]
    kept = node.store.get(record_id or b"")
    assert kept is not None
    assert (kept.wire, kept.kind, kept.job) == (wire, "unknown", job)
    assert [entry.record for entry in node.load("unknown", job)] == [Unknown(body[0], needs, job)]


def test_what_is_signed_by_nobody_is_not_kept() -> None:
    node = ledger()
    wire = later(B, [LATER, JOB])
    assert node.receive(wire[:-1] + b"!", B.node) is None
    assert node.receive(pack(Signed(FORMAT, NOBODY, 2, pack_raw([LATER, JOB]), b"")), B.node) is None
    merge = pack_raw([*whole(Merge(JOB, (bytes(32), JOB))), "anybody could make this"])
    assert node.receive(pack(Signed(FORMAT, NOBODY, 1, merge, b"")), B.node) is None
    assert node.refusals.invalid == 3


def test_what_the_authority_says_later_is_kept() -> None:
    node = ledger()
    authority = PretendIdentity("authority")
    assert authority.node == PretendVerifier.authority
    wire = later(authority, [LATER, "a name"])
    assert node.receive(wire, B.node) is not None
    assert node.receive(wire[:-1] + b"!", B.node) is None


def test_a_known_kind_that_cannot_be_read_is_refused() -> None:
    node = ledger()
    for body in ([3, JOB, "no number"], [10, JOB], ["stop", JOB, ""], [], 5, [-1, JOB], [[1]], [{}, JOB]):
        assert node.receive(later(B, body, needs=1), B.node) is None  # type: ignore[arg-type]


def test_the_version_is_in_the_id_and_signed() -> None:
    signed = unpack(seal(B, Stop(JOB, "x"))[1])
    other = msgspec.structs.replace(signed, needs=2)
    assert other.id != signed.id
    assert ledger().receive(pack(other), B.node) is None
    for wrong in (0, 0x10000):
        with pytest.raises(RecordError):
            unpack(pack(msgspec.structs.replace(signed, needs=wrong)))


def test_an_envelope_of_another_format_is_named() -> None:
    with pytest.raises(RecordError, match=r"format 1, this node reads format 2: update muster on the older"):
        unpack(pack_raw([1, A.node, b"body", b"signature"]))
    with pytest.raises(RecordError, match="canonical"):
        unpack(pack_raw([*msgspec.msgpack.decode(seal(B, Stop(JOB, "x"))[1]), "more"]))


def test_after_an_update_of_muster_what_was_kept_is_understood() -> None:
    """The same store under a node that knows fewer kinds, and then all."""
    fewer = Vocabulary(VERSION, Member | Stop, needs)
    all_of_them = Vocabulary(VERSION + 1, Record, needs)
    store = MemoryStore(random.Random(1))
    before = Ledger(store, A, TrustStore(PretendVerifier(), fewer))
    before.publish(A.member())
    record_id, wire = seal(A, OFFER)
    assert before.receive(wire, B.node) == record_id
    before.note_checked()
    assert [entry.record for entry in before.load("unknown")] == [Unknown(3, 1, JOB)]
    later_on = Ledger(store, A, TrustStore(PretendVerifier(), all_of_them))
    later_on.replay()
    assert [entry.record for entry in later_on.load("offer", JOB)] == [OFFER]
    assert later_on.load("unknown") == []
    assert later_on.understood == {JOB}
    later_on.note_checked()
    again = Ledger(store, A, TrustStore(PretendVerifier(), all_of_them))
    again.replay()
    assert again.understood == set()
