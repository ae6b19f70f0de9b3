"""Nodes of this version and of the next one do a job together; what the older ones cannot do they say."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from later_link import NEW_TOPIC, LaterLink
from small_field import SmallField

from muster.job.waits import outside
from muster.network.sync.newest import UNKNOWN_MAX
from muster.node.api.peer_views import peers
from muster.protocol.ids import JobId, NodeId
from muster.protocol.records import Offer
from muster.protocol.versions import VERSION, Unknown
from muster.simulation.later import MOOD, LaterVocabulary, greeting, half_measured, note_of
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.network import SimNetwork
from muster.storage.store import Store

OLD, NEW = ("b", "d"), ("a", "c")


def field_of(names: str = "abcd") -> SmallField:
    """A line; every second node, the first included, is of the next version."""
    later = names[::2]

    def link_of(network: SimNetwork, node: NodeId, name: str, store: Store) -> SimLink:
        return LaterLink(network, node, name, store) if name in later else network.link(node, name)

    field = SmallField(names, vocabularies={name: LaterVocabulary() for name in later}, link_of=link_of)
    near = {frozenset(pair) for pair in pairwise(names)}
    for one in names:
        for other in names:
            if one < other and frozenset((one, other)) not in near:
                field.network.set_cut(field.cores[one].node, field.cores[other].node, True)
    return field


def vocabulary(field: SmallField, name: str) -> LaterVocabulary:
    found = field.cores[name].trust.vocabulary
    assert isinstance(found, LaterVocabulary)
    return found


def wires(field: SmallField, name: str) -> dict[bytes, bytes]:
    return {record.id: record.wire for record in field.stores[name].since(0, 10_000)}


async def talk(field: SmallField, job: JobId) -> int:
    """The newer nodes say something of every commit that they know; how much that is."""
    said = 0
    for name in NEW:
        ledger = field.cores[name].ledger
        ledger.publish(greeting(name))
        for entry in ledger.load("commit", job):
            ledger.publish(note_of(job, entry.id))
            ledger.publish(half_measured(job, entry.id))
            said += 1
    return said


async def level(field: SmallField) -> bool:
    return await field.until(lambda: all(wires(field, n) == wires(field, "a") for n in field.cores), 300.0)


@pytest.mark.parametrize("asker", ["a", "b"])
def test_a_job_of_two_versions_ends(asker: str) -> None:
    async def story() -> None:
        field = field_of()
        await field.start()
        job = field.ask(asker, min_nodes=4)
        assert await field.until(lambda: all(field.round(n, job) >= 3 for n in field.cores), 600.0)
        said = await talk(field, job)
        assert await level(field)
        for name in field.cores:  # byte for byte, over relays that do not know what it is
            assert wires(field, name) == wires(field, "a")
            assert {k.author for k in field.cores[name].ledger.load("offer", job)} == {
                core.node for core in field.cores.values()
            }
            assert field.runner(name, job).finished() is not None
        acts_as_its_version(field, job, said)
        says_what_it_cannot(field, job)
        passes_over_what_is_new_in_messages(field)
        await field.close()

    run(story())


def acts_as_its_version(field: SmallField, job: JobId, said: int) -> None:
    for name in NEW:
        ledger = field.cores[name].ledger
        assert ledger.load("unknown") == []
        assert len(ledger.load("note", job)) == said >= 6
        assert len(ledger.load("greeting")) == 2
        moods = vocabulary(field, name).moods
        assert sorted(moods.values()) == ["", "", MOOD, MOOD]
    for name in field.cores:  # the figures that mean something else count nowhere
        measured = field.runner(name, job).view.measurements.values()
        assert 9 not in {m.examples for by_node in measured for m in by_node.values()}
    for name in OLD:
        ledger = field.cores[name].ledger
        assert [type(entry.record) for entry in ledger.load("offer", job)] == [Offer] * 4
        unknown = [entry.record for entry in ledger.load("unknown")]
        assert all(isinstance(record, Unknown) for record in unknown)
        assert len([r for r in unknown if isinstance(r, Unknown) and r.job == b""]) == 2
        assert len([r for r in unknown if isinstance(r, Unknown) and r.job == job]) == 2 * said


def says_what_it_cannot(field: SmallField, job: JobId) -> None:
    """In the log once, in `muster nodes`, and where one asks what a job waits for."""
    for name in OLD:
        core = field.cores[name]
        for new in NEW:
            sentence = core.ledger.later.sentence(field.cores[new].node)
            assert sentence.startswith(f"{new} sends records of version {VERSION + 1} (kind ")
            assert sentence.endswith(f" so far); this node acts on version {VERSION}: update muster")
            assert len([s for s in field.said(name) if s.startswith(f"{new} sends records of")]) == 1
            assert sentence in [view.later for view in peers(core)]
            runner = field.runner(name, job)
            again = core.ledger.later.sentence(field.cores[new].node, counted=False)
            assert again in [wait.text for wait in outside(core.context, runner.view, runner.head())]
    for name in NEW:
        assert not any("sends records of version" in text for text in field.said(name))


def passes_over_what_is_new_in_messages(field: SmallField) -> None:
    """Nobody is blamed for a field or a topic that is not known."""
    for name, core in field.cores.items():
        assert core.exchange.shared.offences._known == {}
        assert core.ledger.refusals.invalid == 0
        said = [event.text for event in core.log.since(0) if event.kind == "error"]
        assert [text for text in said if "sends records of version" not in text] == []
        link = core.link
        if isinstance(link, LaterLink):
            assert name in NEW
            assert link.grown.keys() >= {"n", "c", "answers"}
            assert link.refusals.keys() == {f"nobody answers {NEW_TOPIC!r} there"}


def test_a_node_that_is_updated_acts_on_what_it_kept() -> None:
    async def story() -> None:
        field = field_of("abc")
        await field.start()
        job = field.ask("a", min_nodes=3)
        assert await field.until(lambda: all(field.round(n, job) >= 3 for n in field.cores), 600.0)
        said = await talk(field, job)
        assert await level(field)
        before = wires(field, "b")
        await field.cores["b"].close()
        field.vocabularies["b"] = LaterVocabulary()
        core = field.cores["b"] = field.restart("b")
        await core.start()
        assert wires(field, "b") == before
        assert core.ledger.load("unknown") == []
        assert len(core.ledger.load("note", job)) == said
        assert not core.ledger.later.authors(job)
        assert MOOD in vocabulary(field, "b").moods.values()
        await asyncio.sleep(60)
        assert await field.until(lambda: field.round("b", job) >= 3, 60.0)
        await field.close()

    run(story())


def test_what_belongs_to_no_job_is_bounded_by_author() -> None:
    async def story() -> None:
        field = field_of("abc")
        await field.start()
        for number in range(UNKNOWN_MAX + 40):
            field.cores["a"].ledger.publish(greeting(f"{number}"))
            if number % 50 == 0:
                await asyncio.sleep(5)
        assert await field.until(
            lambda: len(field.cores["c"].ledger.load("greeting")) >= UNKNOWN_MAX + 40, 300.0
        )
        kept = field.cores["b"].ledger.load("unknown", b"")
        assert len(kept) == UNKNOWN_MAX
        assert kept[-1].id == field.cores["a"].ledger.load("greeting")[-1].id  # those that came last
        await field.close()

    run(story())
