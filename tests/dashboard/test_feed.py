"""The feed: numbers without gaps, state that patches lead to, a ring that ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pages import make

from asgi import SseEvent, events
from muster.dashboard import feed as feeds
from muster.dashboard.feed import Feed
from patience import patient_s


def apply(state: dict[str, Any], event: SseEvent) -> None:
    """What a reader does (docs/api.md)."""
    if event.kind == "snapshot":
        state.clear()
        state.update(event.data)
    elif event.kind == "patch":
        for table, rows in event.data.items():
            if table == "log":
                state["log"] = (state["log"] + rows)[-feeds.LOG_MAX :]
            elif table == "header":
                state["header"].update(rows)
            elif table in feeds.TABLES:
                for key, row in rows.items():
                    if row is None:
                        state[table].pop(key, None)
                    else:
                        state[table].setdefault(key, {}).update(row)


def comparable(feed: Feed) -> dict[str, Any]:
    return {**feed.tables, "log": list(feed.log)}


KEYS = st.sampled_from("abc")
ROWS = st.one_of(st.none(), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), min_size=1))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("nodes", "links")), KEYS, ROWS), st.sampled_from(("flush", "say", "yield"))
    ),
    max_size=30,
)


@given(STEPS)
def test_patches_lead_to_the_state(steps: list[Any]) -> None:
    async def run() -> None:
        made = make()
        read: dict[str, Any] = {}
        async with events(made.app) as queue:
            for step in steps:
                if step == "flush":
                    made.feed.flush()
                elif step == "say":
                    made.feed.add_line("job", "something happened")
                elif step == "yield":
                    await asyncio.sleep(0)
                else:
                    table, key, row = step
                    made.feed.publish({table: {key: row}})
            made.feed.flush()
            numbers = []
            while not numbers or numbers[-1] < made.feed.sequence:
                event = await queue.get()
                if event.id is not None:
                    numbers.append(int(event.id.partition("-")[2]))
                apply(read, event)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert {k: read[k] for k in comparable(made.feed)} == comparable(made.feed)

    asyncio.run(run())


async def _first(app: Any, since: str) -> SseEvent:
    async with events(app, since) as queue:
        return await queue.get()


def test_a_reader_goes_on_where_it_stopped_or_gets_a_snapshot() -> None:
    async def run() -> None:
        made = make()
        feed = made.feed
        for number in range(5):
            feed.publish({"nodes": {"a": {"number": number}}})
            feed.flush()
        assert feed.sequence == 5
        went_on = await _first(made.app, f"{feed.boot}-3")
        assert (went_on.kind, went_on.id) == ("patch", f"{feed.boot}-4")
        assert went_on.data["nodes"] == {"a": {"number": 3}}
        for unknown in (
            "",
            "3x",
            "-1",
            "9" * 40,
            f"{feed.boot}-6",
            "0badb007-3",
            "0badb007-9",
            f"{feed.boot}-",
        ):
            event = await _first(made.app, unknown)
            assert (event.kind, event.id) == ("snapshot", f"{feed.boot}-5"), unknown
        assert (await _first(made.app, "4")).id == f"{feed.boot}-5"  # the number alone is fine, too

    asyncio.run(run())


def test_what_the_browser_sends_goes_before_the_query() -> None:
    async def run() -> None:
        made = make()
        for number in range(3):
            made.feed.publish({"nodes": {"a": {"number": number}}})
            made.feed.flush()
        async with events(made.app, "1", {"last-event-id": f"{made.feed.boot}-2"}) as queue:
            assert (await queue.get()).id == f"{made.feed.boot}-3"

    asyncio.run(run())


def test_the_ring_is_bounded_in_events_and_in_bytes() -> None:
    async def run() -> None:
        made = make()
        feed = made.feed
        for number in range(feeds.RING_EVENTS_MAX + 10):
            feed.publish({"nodes": {"a": {"number": number}}})
            feed.flush()
        assert len(feed._ring) == feeds.RING_EVENTS_MAX
        assert (await _first(made.app, "5")).kind == "snapshot"
        assert (await _first(made.app, "11")).kind == "patch"
        for number in range(12):
            feed.publish({"nodes": {"a": {"text": str(number) * 500_000}}})
            feed.flush()
        assert feed._ring_bytes <= feeds.RING_BYTES_MAX
        assert feed._ring_bytes == sum(len(text) for _, text in feed._ring)
        assert len(feed._ring) < 12

    asyncio.run(run())


def test_one_event_over_the_rings_limit_is_read_as_a_snapshot() -> None:
    """Until now the reader's stream ended with an IndexError: the ring is empty then."""

    async def run() -> None:
        made = make()
        feed = made.feed
        feed.publish({"nodes": {"a": {"x": 1}}})
        async with events(made.app) as queue:
            assert (await queue.get()).kind == "snapshot"
            feed.publish({"nodes": {"a": {"text": "x" * (feeds.RING_BYTES_MAX + 1)}}})
            feed.flush()
            assert not feed._ring
            async with asyncio.timeout(patient_s(10)):
                while (event := await queue.get()).kind == "tick":
                    pass
            assert (event.kind, event.id) == ("snapshot", f"{feed.boot}-{feed.sequence}")
            feed.publish({"nodes": {"a": {"text": "short"}}})
            feed.flush()
            async with asyncio.timeout(patient_s(10)):
                while (event := await queue.get()).kind == "tick":
                    pass
            assert event.kind == "patch"

    asyncio.run(run())


def test_what_did_not_change_is_not_sent_and_what_changes_together_comes_together() -> None:
    async def run() -> None:
        made = make()
        feed = made.feed
        feed.publish({"nodes": {"a": {"x": 1, "y": 2}}})
        feed.publish({"links": {"l": {"up": True}}})
        feed.flush()
        assert feed.sequence == 1
        feed.publish({"nodes": {"a": {"x": 1, "y": 2}}})
        feed.describe({"title": "a test"})
        feed.flush()
        assert feed.sequence == 1
        feed.publish({"nodes": {"a": {"x": 1, "y": 3}}})
        feed.publish({"nodes": {"b": None}})
        feed.flush()
        patch = json.loads(feed._ring[-1][1].split(b"data: ")[1])
        assert patch["nodes"] == {"a": {"y": 3}}

    asyncio.run(run())


def test_a_quiet_stream_ticks_without_numbers() -> None:
    async def run() -> None:
        made = make()
        made.feed.fresh_t = 0.25
        async with events(made.app) as queue:
            assert (await queue.get()).kind == "snapshot"
            tick = await queue.get()
        assert (tick.kind, tick.id, tick.data["fresh_t"]) == ("tick", None, 0.25)

    feeds_tick = feeds.TICK_EVERY_S
    feeds.TICK_EVERY_S = 0.01
    try:
        asyncio.run(run())
    finally:
        feeds.TICK_EVERY_S = feeds_tick


def test_another_nodes_view_comes_as_a_snapshot_in_mid_stream() -> None:
    async def run() -> None:
        made = make()
        feed = made.feed
        feed.publish({"nodes": {"a": {"x": 1}}})
        async with events(made.app) as queue:
            await queue.get()
            feed.clear(("nodes",))
            feed.publish({"nodes": {"b": {"x": 2}}})
            event = await queue.get()
        assert event.kind == "snapshot"
        assert event.data["nodes"] == {"b": {"x": 2}}

    asyncio.run(run())


def test_two_boots_are_told_apart() -> None:
    async def run() -> None:
        first, second = make(), make()
        assert first.feed.boot != second.feed.boot
        first.feed.publish({"nodes": {"a": {"x": 1}}})
        first.feed.flush()
        second.feed.publish({"nodes": {"a": {"x": 1}}})
        second.feed.flush()
        event = await _first(second.app, f"{first.feed.boot}-1")
        assert event.kind == "snapshot"
        assert event.id == f"{second.feed.boot}-1"

    asyncio.run(run())
