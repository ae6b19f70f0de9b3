from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muster.errors import MusterError
from muster.job.figures import of_classes, sorted_figures
from muster.network.sync.record_compression.compressor import CannotDecompress, RecordCompressor
from muster.network.trust.signing import TrustStore, UnknownAuthor, seal
from muster.protocol.envelope import RecordError, decode, pack, unpack
from muster.protocol.parts import Assignment, Cost, Folded, Payload, Recipe, StopRule
from muster.protocol.records import (
    Commit,
    Job,
    Measurement,
    Member,
    Merge,
    Offer,
    Plan,
    Record,
    Refusal,
    Stop,
    Update,
)
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.storage.memory import MemoryStore

OVERHEAD_BYTES_MAX = 120  # beside a payload
CODEC = "stc:0.01"


@dataclasses.dataclass
class Held:
    """What one node holds, and how it writes and reads."""

    store: MemoryStore
    compressor: RecordCompressor

    @classmethod
    def nothing(cls, name: str) -> Held:
        store = MemoryStore(random.Random(name))
        return cls(store, RecordCompressor(store, PretendIdentity(name).node))

    def keep(self, wire: bytes) -> bytes:
        signed = unpack(wire)
        trust = TrustStore(PretendVerifier())
        for node in range(10):
            trust.verify_member(seal(who(node), who(node).member())[1])
        record_id, _, record = trust.verify(wire)
        self.store.add(record_id, record.KIND, b"", wire, b"")
        self.compressor.note(record_id, signed.author, record)
        return record_id


def who(number: int) -> PretendIdentity:
    return PretendIdentity(f"node-{number}")


class Story:
    """Ten nodes and a job, record by record; two of them hold it all."""

    def __init__(self) -> None:
        self.rng = random.Random(7)
        self.here, self.there = Held.nothing("node-0"), Held.nothing("node-1")
        self.sizes: list[tuple[str, int]] = []  # kind, bytes beside the payload
        for number in range(10):
            self.tell(number, who(number).member())
        recipe = Recipe(0.1, 32, 20, 0, codec=CODEC, down_codec=CODEC)
        job = Job("mnist", self.rng.randbytes(32), recipe, StopRule(rounds=9), 1, 20.0, self.rng.randbytes(8))
        self.job = self.tell(0, job)
        start = Commit(self.job, (), 0, (), (who(0).node,), (), 0.0, self.rng.randbytes(32), 24000)
        self.head = self.tell(0, start)
        self.lives = [self.rng.getrandbits(31) for _ in range(10)]
        self.age_s = 0.0
        for number in range(10):
            self.tell(number, Offer(self.job, self.lives[number], 1, 600, self.rng.random(), None))

    def tell(self, author: int, record: Record) -> bytes:
        record_id, wire = seal(who(author), record)
        short = self.here.compressor.compress(record_id, wire)
        assert self.there.compressor.decompress(short) == wire
        payload = getattr(record, "payload", None) or getattr(record, "delta", None)
        tensors = len(payload.inline or b"") if payload else 0
        self.sizes.append((record.KIND, len(short) - tensors))
        assert self.here.keep(wire) == self.there.keep(wire) == record_id
        return record_id

    def round(self, number: int, *, inline: bool = True) -> None:
        rng, nodes = self.rng, sorted(range(10), key=lambda n: who(n).node)
        assignments = tuple(Assignment(who(n).node, 20, CODEC) for n in nodes)
        self.tell(0, Plan(self.job, self.head, number, assignments, 8, 30 + rng.random(), "20 steps for all"))
        folded, costs = [], []
        for n in nodes:
            payload = Payload(CODEC, 124, inline=rng.randbytes(124))
            if not inline:
                payload = Payload(CODEC, 12400, blob=rng.randbytes(32))
            update = Update(
                self.job, self.head, number - 1, self.lives[n], number, 20, 640, rng.random(), payload
            )
            self.tell(n, update)
            folded.append(Folded(who(n).node, self.lives[n], number, 20, 640, 0, 0.1))
            costs.append(Cost(rng.randrange(900, 1100), 800, 270 + rng.randrange(9), CODEC, 30))
        self.age_s += rng.randrange(100) / 16
        delta = Payload(CODEC, 150, inline=rng.randbytes(150))
        commit = Commit(
            self.job, (self.head,), number, tuple(folded),
            tuple(who(n).node for n in nodes[1:]) if number == 1 else (), (), self.age_s, rng.randbytes(32),
            24000, delta, rng.random(), costs=tuple(costs),
        )  # fmt: skip
        self.head = self.tell(0, commit)
        self.tell(
            0,
            Measurement(
                self.job, self.head, 2000, sorted_figures(of_classes(2000, 1700, rng.random() * 900)), True
            ),
        )


def test_ten_nodes_records_are_small_beside_their_payload() -> None:
    story = Story()
    for number in range(1, 5):
        story.round(number)
    late = story.sizes[-13 * 3 :]
    for kind in ("plan", "update", "measurement"):
        assert max(size for k, size in late if k == kind) <= OVERHEAD_BYTES_MAX
    # a commit also says which ten updates it counts, what each cost, and the hash of the model it yields
    assert max(size for k, size in late if k == "commit") <= OVERHEAD_BYTES_MAX + 10 * 12 + 32


def test_every_kind_survives() -> None:
    story = Story()
    story.round(1, inline=False)
    other = story.tell(1, Commit(story.job, (story.head,), 2, (), (), (), 9.3, b"p" * 32, 24000))
    merge = story.tell(1, Merge(story.job, (min(story.head, other), max(story.head, other))))
    story.tell(2, Plan(story.job, merge, 2, (), 1, 9.5))
    child = Commit(story.job, (merge,), 3, (), (), (), 1.0, b"q" * 32, 9)
    story.tell(3, child)
    story.tell(4, Refusal(story.job, 7, 1, "no battery"))
    story.tell(5, Stop(story.job, "by its user"))
    kinds = {kind for kind, _ in story.sizes}
    assert kinds >= {"member", "job", "offer", "plan", "update", "commit", "merge", "refusal", "stop"}


def test_whoever_lacks_the_base_asks_in_full() -> None:
    story = Story()
    newcomer = Held.nothing("newcomer")
    record_id, wire = seal(
        who(1), Measurement(story.job, story.head, 10, sorted_figures(of_classes(10, 5, 3.0)), True)
    )
    short = story.here.compressor.compress(record_id, wire)
    with pytest.raises(CannotDecompress):
        newcomer.compressor.decompress(short)
    assert newcomer.compressor.decompress(wire) == wire


def test_another_form_is_named() -> None:
    with pytest.raises(RecordError, match="form 3, this node reads form 2"):
        Held.nothing("a").compressor.decompress(b"\x31" + bytes(70))


@given(damage=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
@example(damage=[(0, 133)])  # text that is not UTF-8
def test_a_damaged_short_form_never_passes_for_another_record(damage: list[tuple[int, int]]) -> None:
    short, trust, compressor = _update_of_a_story()
    bad = bytearray(short)
    for at, flip in damage:
        bad[at % len(bad)] ^= flip
    try:
        wire = compressor.decompress(bytes(bad))
        _, _, record = trust.verify(wire)
    except (CannotDecompress, RecordError, UnknownAuthor, MusterError):
        return
    assert bytes(bad) == short or wire == compressor.decompress(short), record


_story: list[tuple[bytes, TrustStore, RecordCompressor]] = []


def _update_of_a_story() -> tuple[bytes, TrustStore, RecordCompressor]:
    if not _story:
        story = Story()
        story.round(1)
        trust = TrustStore(PretendVerifier())
        for number in range(10):
            trust.verify_member(seal(who(number), who(number).member())[1])
        payload = Payload(CODEC, 60, inline=bytes(range(60)))
        record_id, wire = seal(who(3), Update(story.job, story.head, 1, 5, 2, 20, 640, 0.5, payload))
        _story.append((story.here.compressor.compress(record_id, wire), trust, story.there.compressor))
    return _story[0]


def test_a_commit_of_many_nodes_repeats_the_table_of_the_one_before() -> None:
    """Deflate reaches the whole table, not only its ends: 200 ids are 6.4 kB by themselves."""
    rng, sizes = random.Random(5), []
    here, there = Held.nothing("node-0"), Held.nothing("node-1")
    ids, before = sorted(rng.randbytes(32) for _ in range(200)), rng.randbytes(32)
    for number in (1, 2):
        folded = tuple(Folded(n, 7, number, 20, 640, 0, 0.005) for n in ids)
        record = Commit(b"j" * 32, (before,), number, folded, (), (), 1.0, rng.randbytes(32), 24000)
        before, wire = seal(who(0), record)
        sizes.append(len(here.compressor.compress(before, wire)))
        assert there.compressor.decompress(here.compressor.compress(before, wire)) == wire
        here.keep(wire)
        there.keep(wire)
    assert sizes[1] < sizes[0] / 4


def test_a_full_envelope_is_its_own_form() -> None:
    _, wire = seal(who(0), Member("node-0", b"x"))
    assert Held.nothing("a").compressor.decompress(wire) == wire
    assert pack(unpack(wire)) == wire
    assert isinstance(decode(unpack(wire).body), Member)
