"""The real engine on this machine's loopback: real sockets, real certificates, no emulated trouble."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from muster.errors import MusterError
from muster.network import zenoh_link, zenoh_session
from muster.network.identity import Identity, init_fleet, issue, load_bundle
from muster.network.link import Refused, Unreachable, Urgency
from muster.network.zenoh_config import (
    DEFAULT_PORT,
    LAN,
    NARROW,
    Endpoint,
    endpoint,
    free_endpoint,
    profile_for,
)
from muster.network.zenoh_link import ZenohLink
from muster.network.zenoh_threads import LANE_ITEMS_MAX, Lane, call_limited
from muster.records import NodeId

SECONDS_MAX = 15.0  # for anything that happens on loopback; usually some milliseconds


# ---- endpoints and profiles ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.2:7447", "10.0.0.2", 7447),
        ("10.0.0.2", "10.0.0.2", DEFAULT_PORT),
        ("[::]:7000", "::", 7000),
        ("[fe80::1%eth0]", "fe80::1%eth0", DEFAULT_PORT),
        ("quic/gate.example:1", "gate.example", 1),
        ("127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_endpoints_are_read(text: str, host: str, port: int) -> None:
    point = endpoint(text)
    assert point == Endpoint(host, port)
    assert endpoint(point.locator) == point


@pytest.mark.parametrize(
    "text", ["", ":7447", "a b:1", "host:99999", "tcp/host:1", "fe80::1", "[::", "host:x"]
)
def test_what_is_no_endpoint_is_named(text: str) -> None:
    with pytest.raises(MusterError, match="is no endpoint") as caught:
        endpoint(text)
    assert caught.value.code == "config"


def test_the_profile_follows_the_rate() -> None:
    assert profile_for(None) is LAN
    assert profile_for(1e6) is LAN
    assert profile_for(9600) is NARROW


# ---- threads ---------------------------------------------------------------------------------------------


def test_a_lane_keeps_order_and_is_bounded() -> None:
    lane, gate, ran = Lane("test"), threading.Event(), []
    done = threading.Event()
    assert lane.put(lambda: bool(gate.wait(10)) or None)  # type: ignore[arg-type, return-value]
    taken = 0
    while taken < LANE_ITEMS_MAX + 1 and lane.put(lambda number=taken: ran.append(number)):  # type: ignore[misc]
        taken += 1
    assert LANE_ITEMS_MAX - 1 <= taken <= LANE_ITEMS_MAX
    gate.set()
    while not lane.put(done.set):
        pass
    assert done.wait(10)
    assert ran == list(range(taken))
    lane.close()
    assert not lane.put(done.set)


def test_a_call_that_blocks_is_given_up_and_its_late_result_closed() -> None:
    gate, closed = threading.Event(), threading.Event()

    def block() -> str:
        gate.wait(10)
        return "late"

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await call_limited(block, 0.01, late=lambda result: closed.set())
        gate.set()
        assert await asyncio.to_thread(closed.wait, 10)

    asyncio.run(main())


def test_a_calls_error_reaches_the_caller() -> None:
    def fail() -> None:
        raise ValueError("so")

    with pytest.raises(ValueError, match="so"):
        asyncio.run(call_limited(fail, 10))


# ---- links -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    directory = init_fleet(tmp_path_factory.mktemp("fleet"), "north").directory
    return {name: load_bundle(issue(directory, name)) for name in ("alpha", "bravo", "carol")}


@pytest.fixture(scope="session", autouse=True)
def calls_end() -> Iterator[None]:
    """A call that was given up may not end in the middle of the interpreter's own end: that aborts."""
    yield
    for thread in threading.enumerate():
        if thread.name == "muster-call":
            thread.join(SECONDS_MAX)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not holds():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def opened(*links: ZenohLink) -> AsyncIterator[None]:
    try:
        for link in links:
            await link.start()
        yield
    finally:
        for link in links:
            await link.close()


def quiet(identity: Identity, listen: list[str], connect: list[str], **more: Any) -> ZenohLink:
    return ZenohLink(identity, listen, connect, discovery=False, **more)


@asynccontextmanager
async def pair(members: dict[str, Identity]) -> AsyncIterator[tuple[ZenohLink, ZenohLink]]:
    """alpha listens, bravo connects to it; each sees the other."""
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    async with opened(alpha):
        bravo = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        async with opened(bravo):
            await until(lambda: alpha.neighbours() and bravo.neighbours())
            yield alpha, bravo


def e2e(test: Callable[[dict[str, Identity]], Awaitable[None]]) -> Callable[[dict[str, Identity]], None]:
    @pytest.mark.e2e
    def run(members: dict[str, Identity]) -> None:
        asyncio.run(test(members))  # type: ignore[arg-type]

    return run


async def echo(node: NodeId, payload: bytes) -> bytes:
    return node[:4] + payload


@e2e
async def test_neighbours_are_who_their_certificates_say(members: dict[str, Identity]) -> None:
    async with pair(members) as (alpha, bravo):
        assert list(alpha.neighbours()) == [members["bravo"].node]
        assert bravo.neighbours()[alpha.node].name == "alpha"


@e2e
async def test_an_ask_is_answered_by_the_right_handler(members: dict[str, Identity]) -> None:
    async with pair(members) as (alpha, bravo):
        alpha.serve("echo", echo)
        for urgency in Urgency:
            answer = await bravo.ask(alpha.node, "echo", b"hello", timeout_s=SECONDS_MAX, urgency=urgency)
            assert answer == bravo.node[:4] + b"hello"
        assert bravo.traffic(alpha.node) == (10, 18)
        assert alpha.traffic(bravo.node) == (18, 10)
        assert bravo.last_heard(alpha.node) is not None


@e2e
async def test_refusals_and_faults_come_back_as_refusals(members: dict[str, Identity]) -> None:
    async def no(node: NodeId, payload: bytes) -> bytes:
        raise Refused("not on battery")

    async def broken(node: NodeId, payload: bytes) -> bytes:
        raise ZeroDivisionError

    async def huge(node: NodeId, payload: bytes) -> bytes:
        return bytes(zenoh_link.ANSWER_BYTES_MAX + 1)

    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with pair(members) as (alpha, bravo):
        for topic, handler in {"no": no, "broken": broken, "huge": huge}.items():
            alpha.serve(topic, handler)
        cases = {"no": "battery", "broken": "failed", "huge": "too long", "unheard-of": "serves no"}
        for topic, reason in cases.items():
            with pytest.raises(Refused, match=reason):
                await bravo.ask(alpha.node, topic, b"", timeout_s=SECONDS_MAX)
    assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]


@e2e
async def test_a_slow_answer_holds_up_no_other(members: dict[str, Identity]) -> None:
    gate = asyncio.Event()

    async def slow(node: NodeId, payload: bytes) -> bytes:
        await gate.wait()
        return b"at last"

    async with pair(members) as (alpha, bravo):
        alpha.serve("slow", slow)
        alpha.serve("echo", echo)
        waiting = asyncio.ensure_future(bravo.ask(alpha.node, "slow", b"", timeout_s=SECONDS_MAX))
        await bravo.ask(alpha.node, "echo", b"", timeout_s=SECONDS_MAX)
        assert not waiting.done()
        with pytest.raises(Unreachable, match="did not answer"):
            await bravo.ask(alpha.node, "slow", b"", timeout_s=0.05)
        assert bravo.last_unanswered(alpha.node) is not None
        gate.set()
        assert await waiting == b"at last"


@e2e
async def test_too_many_asks_at_once_are_refused_not_queued(members: dict[str, Identity]) -> None:
    gate = asyncio.Event()

    async def slow(node: NodeId, payload: bytes) -> bytes:
        await gate.wait()
        return b""

    async with pair(members) as (alpha, bravo):
        alpha.serve("slow", slow)
        asks = [
            asyncio.ensure_future(bravo.ask(alpha.node, "slow", b"", timeout_s=SECONDS_MAX))
            for _ in range(zenoh_link.SERVED_MAX + 1)
        ]
        done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(Refused, match="busy"):
            done.pop().result()
        gate.set()
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert sum(result == b"" for result in results) == zenoh_link.SERVED_MAX


@e2e
async def test_large_answers_arrive_whole(members: dict[str, Identity]) -> None:
    async def serve(node: NodeId, payload: bytes) -> bytes:
        return payload * 16384

    async with pair(members) as (alpha, bravo):
        alpha.serve("chunk", serve)
        asked = [bytes((number,)) for number in range(40)]
        answers = await asyncio.gather(
            *(
                bravo.ask(alpha.node, "chunk", one, timeout_s=SECONDS_MAX, urgency=Urgency.BULK)
                for one in asked
            )
        )
        assert answers == [one * 16384 for one in asked]


@e2e
async def test_nudges_arrive_with_their_sender(members: dict[str, Identity]) -> None:
    heard: list[tuple[NodeId, bytes]] = []
    async with pair(members) as (alpha, bravo):
        alpha.listen("beat", lambda node, payload: heard.append((node, payload)))
        bravo.nudge(alpha.node, "beat", b"thump")
        bravo.nudge(alpha.node, "beat", bytes(zenoh_link.NUDGE_BYTES_MAX + 1))  # too long: lost
        bravo.nudge(members["carol"].node, "beat", b"nobody there")
        await until(lambda: heard)
        bravo.nudge(alpha.node, "beat", b"again")
        await until(lambda: len(heard) == 2)
    assert heard == [(members["bravo"].node, b"thump"), (members["bravo"].node, b"again")]


@e2e
async def test_a_nudge_over_one_batch_arrives_whole(members: dict[str, Identity]) -> None:
    heard: list[bytes] = []
    async with pair(members) as (alpha, bravo):
        alpha.listen("record", lambda node, payload: heard.append(payload))
        payload = bytes(range(250)) * 20  # 5 kB, three batches
        bravo.nudge(alpha.node, "record", payload)
        await until(lambda: heard)
        assert heard == [payload]


@e2e
async def test_nudges_beyond_the_queue_are_lost_and_nothing_else(members: dict[str, Identity]) -> None:
    heard: list[bytes] = []
    async with pair(members) as (alpha, bravo):
        alpha.serve("echo", echo)
        alpha.listen("record", lambda node, payload: heard.append(payload))
        peer = bravo._peers.get(alpha.node)
        gate = threading.Event()
        assert peer is not None
        assert peer.lanes[Urgency.CONTROL].put(lambda: (gate.wait(10), None)[1])
        for number in range(LANE_ITEMS_MAX + 50):
            bravo.nudge(alpha.node, "record", bytes((number % 256,)) * 5000)
        assert bravo.traffic(alpha.node)[0] <= (LANE_ITEMS_MAX + 1) * 5000  # the rest is not even queued
        gate.set()
        assert await _ask_until_taken(bravo, alpha.node) == bravo.node[:4] + b"still there"
        await until(lambda: heard)
        assert len(heard) <= LANE_ITEMS_MAX + 1
        assert all(len(one) == 5000 and len(set(one)) == 1 for one in heard)


async def _ask_until_taken(link: ZenohLink, node: NodeId) -> bytes:
    while True:
        try:
            return await link.ask(node, "echo", b"still there", timeout_s=SECONDS_MAX)
        except Refused:  # the lane is full yet
            await asyncio.sleep(0.002)


@e2e
async def test_a_long_refusal_is_cut_short(members: dict[str, Identity]) -> None:
    async def no(node: NodeId, payload: bytes) -> bytes:
        raise Refused("x" * 5000)

    async with pair(members) as (alpha, bravo):
        alpha.serve("no", no)
        with pytest.raises(Refused) as caught:
            await bravo.ask(alpha.node, "no", b"", timeout_s=SECONDS_MAX)
        assert len(str(caught.value)) == zenoh_link.REFUSAL_BYTES_MAX


@e2e
async def test_a_deserted_node_opens_again_on_its_port(members: dict[str, Identity]) -> None:
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    async with opened(alpha):
        assert not alpha.deserted()  # nobody was here yet
        port = alpha.listening()
        bravo = quiet(members["bravo"], ["127.0.0.1:0"], port)
        async with opened(bravo):
            await until(lambda: alpha.neighbours() and bravo.neighbours())
            assert not alpha.deserted()
        await until(alpha.deserted)
        await alpha.renew()
        assert alpha.listening() == port
        bravo = quiet(members["bravo"], ["127.0.0.1:0"], port)
        async with opened(bravo):
            await until(lambda: alpha.neighbours() and bravo.neighbours())


@e2e
async def test_opening_again_does_not_wait_for_attempts_to_connect(members: dict[str, Identity]) -> None:
    loop = asyncio.get_running_loop()
    link = quiet(members["alpha"], ["127.0.0.1:0"], ["127.0.0.1:9"])
    async with opened(link):
        port, began = link.listening(), loop.time()
        await link.renew()
        assert link.listening() == port
        assert loop.time() - began < SECONDS_MAX / 2


@pytest.mark.e2e
def test_a_new_session_waits_for_the_port_of_the_old_one(
    members: dict[str, Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zenoh_session, "PORT_PAUSE_S", 0.01)
    monkeypatch.setattr(zenoh_session, "take_back", lambda host, port: 0)  # as where there is no /proc

    async def main() -> None:
        problems: list[str] = []
        alpha = quiet(members["alpha"], ["127.0.0.1:0"], [], on_problem=problems.append)
        async with opened(alpha):
            port = alpha.listening()
            await alpha._engine.shut(SECONDS_MAX)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dying:
                await until(lambda: bound(dying, alpha._engine.listening[0]))
                renewing = asyncio.ensure_future(alpha.renew())
                await asyncio.sleep(0.05)
                assert not renewing.done()
            await renewing
            assert alpha.listening() == port
            assert not problems

    asyncio.run(main())


def bound(opened: socket.socket, point: Endpoint) -> bool:
    with contextlib.suppress(OSError):
        opened.bind((point.host, point.port))
        return True
    return False


@e2e
async def test_a_leaving_neighbour_is_noticed_and_its_debts_are_ended(members: dict[str, Identity]) -> None:
    seen: list[bool] = []

    async def never(node: NodeId, payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with pair(members) as (alpha, bravo):
        bravo.watch(lambda node, up: seen.append(up))
        alpha.serve("never", never)
        waiting = asyncio.ensure_future(bravo.ask(alpha.node, "never", b"", timeout_s=SECONDS_MAX))
        await asyncio.sleep(0)
        await alpha.close()
        with pytest.raises(Unreachable, match=r"was lost|no answer"):
            await waiting
        await until(lambda: not bravo.neighbours())
        with pytest.raises(Unreachable):
            await bravo.ask(alpha.node, "echo", b"", timeout_s=1)
        assert seen == [False]


@e2e
async def test_a_reopened_session_is_a_neighbour_again(members: dict[str, Identity]) -> None:
    async with pair(members) as (alpha, bravo):
        seen: list[bool] = []
        alpha.watch(lambda node, up: seen.append(up))
        bravo.serve("echo", echo)
        port = bravo.listening()
        await bravo.reopen()
        await until(lambda: bravo.neighbours() and True in seen)
        assert await alpha.ask(bravo.node, "echo", b"", timeout_s=SECONDS_MAX) == alpha.node[:4]
        assert seen == [False, True]
        assert bravo.listening() == port


@e2e
async def test_half_a_link_is_made_whole(members: dict[str, Identity]) -> None:
    """As after a cut of about a lease: bravo takes alpha for a neighbour, alpha does not know bravo."""
    async with pair(members) as (alpha, bravo):
        bravo.serve("echo", echo)
        alpha.serve("echo", echo)
        alpha._peers.clear()
        asked_s = asyncio.get_running_loop().time()
        while not alpha.half_open():
            with pytest.raises(Unreachable):
                await bravo.ask(alpha.node, "echo", b"", timeout_s=SECONDS_MAX)
            assert bravo.last_unanswered(alpha.node) is not None
            assert asyncio.get_running_loop().time() - asked_s < 2 * zenoh_link.HALF_OPEN_S
        await until(lambda: alpha.reopened == 1)
        await until(lambda: alpha.neighbours() and bravo.neighbours())
        assert await bravo.ask(alpha.node, "echo", b"", timeout_s=SECONDS_MAX) == bravo.node[:4]


@e2e
async def test_nothing_is_forwarded(members: dict[str, Identity]) -> None:
    """carol and alpha are both linked with bravo, but not with each other."""
    async with pair(members) as (alpha, bravo):
        carol = quiet(members["carol"], ["127.0.0.1:0"], bravo.listening())
        async with opened(carol):
            await until(lambda: len(bravo.neighbours()) == 2)
            await until(lambda: carol.neighbours())
            assert list(carol.neighbours()) == [bravo.node]
            assert list(alpha.neighbours()) == [bravo.node]
            with pytest.raises(Unreachable):
                await carol.ask(alpha.node, "echo", b"", timeout_s=1)


@e2e
async def test_discovery_finds_nodes_of_this_machine(members: dict[str, Identity]) -> None:
    links = [ZenohLink(members[name], [], [], discovery=True) for name in ("alpha", "bravo")]
    async with opened(*links):
        await until(lambda: all(link.neighbours() for link in links))
        assert links[0].listening() != links[1].listening()


@e2e
async def test_a_node_of_another_fleet_never_gets_in(members: dict[str, Identity]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        stranger = load_bundle(issue(init_fleet(Path(directory) / "f", "north").directory, "bravo"))
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    async with opened(alpha):
        outside = quiet(stranger, ["127.0.0.1:0"], alpha.listening())
        inside = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        async with opened(outside):
            await asyncio.sleep(0.7)  # its first attempt and one more (every 0.5 s)
            async with opened(inside):
                await until(lambda: alpha.neighbours())
                assert list(alpha.neighbours()) == [members["bravo"].node]
                assert not outside.neighbours()
                assert await outside.silent_endpoints() == alpha.listening()
                assert await inside.silent_endpoints() == []


@e2e
async def test_a_false_token_is_not_believed(members: dict[str, Identity]) -> None:
    """A member of the fleet cannot pass for another: the link's certificate is compared."""
    problems: list[str] = []
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [], on_problem=problems.append)
    async with opened(alpha):
        liar = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        carol = base64.urlsafe_b64encode(members["carol"].node).decode().rstrip("=")
        liar._engine.token_key = lambda tag: f"m/{carol}/{tag}/carol"  # type: ignore[method-assign]
        async with opened(liar):
            await until(lambda: problems)
            assert "bravo" in problems[0]
            assert not alpha.neighbours()


@e2e
async def test_a_forbidden_member_is_no_neighbour(members: dict[str, Identity]) -> None:
    async with pair(members) as (alpha, bravo):
        alpha.serve("echo", echo)
        alpha.forbid(bravo.node)
        assert not alpha.neighbours()
        with pytest.raises(Unreachable):
            await bravo.ask(alpha.node, "echo", b"", timeout_s=0.2)


@e2e
async def test_a_taken_port_is_one_sentence(members: dict[str, Identity]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        link = quiet(members["alpha"], [f"127.0.0.1:{other.getsockname()[1]}"], [])
        with pytest.raises(MusterError, match="listens on") as caught:
            await link.start()
        await link.close()
    assert caught.value.code == "port_in_use"


@e2e
async def test_an_address_of_another_machine_is_one_sentence(members: dict[str, Identity]) -> None:
    with pytest.raises(MusterError, match="no address") as caught:
        await quiet(members["alpha"], ["198.51.100.7:7447"], []).start()
    assert caught.value.code == "config"


@e2e
async def test_two_processes_with_one_bundle_are_told_so(members: dict[str, Identity]) -> None:
    problems: list[str] = []
    first = quiet(members["alpha"], ["127.0.0.1:0"], [], on_problem=problems.append)
    async with opened(first):
        second = quiet(members["alpha"], ["127.0.0.1:0"], first.listening())
        async with opened(second):
            await until(lambda: problems)
    assert "bundle of its own" in problems[0]


@e2e
async def test_closing_is_quick_while_a_connection_is_tried(members: dict[str, Identity]) -> None:
    loop = asyncio.get_running_loop()
    link = quiet(members["alpha"], ["127.0.0.1:0"], ["127.0.0.1:9"])
    await link.start()
    began = loop.time()
    await link.close()
    assert loop.time() - began < zenoh_session.CLOSE_S_MAX + 2


def test_without_a_port_the_default_or_a_free_one_is_taken() -> None:
    first = free_endpoint()
    with socket.socket(socket.AF_INET6 if ":" in first.host else socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((first.host, first.port))
        second = free_endpoint()
    assert second.port not in (0, first.port)


@pytest.mark.e2e
def test_a_token_that_overtakes_the_opening_is_not_lost(
    members: dict[str, Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(function: Callable[[], Any], limit_s: float, late: Any = None) -> Any:
        result = await call_limited(function, limit_s, late)
        await asyncio.sleep(0.3)  # the neighbour's token arrives meanwhile
        return result

    async def main() -> None:
        alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
        async with opened(alpha):
            monkeypatch.setattr(zenoh_session, "call_limited", late)
            bravo = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
            async with opened(bravo):
                await until(bravo.neighbours)

    asyncio.run(main())
