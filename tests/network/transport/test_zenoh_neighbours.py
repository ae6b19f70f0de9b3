"""Who becomes a neighbour over real links, and who leaves."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from zenoh_pair import SECONDS_MAX, e2e, echo, opened, pair, quiet, until

from muster.errors import MusterError
from muster.network.transport.activity import HALF_OPEN_S
from muster.network.transport.endpoints import Endpoint
from muster.network.transport.link import Unreachable
from muster.network.transport.zenoh import listening as zenoh_listening
from muster.network.transport.zenoh import session as zenoh_session
from muster.network.transport.zenoh.link import ZenohLink
from muster.network.transport.zenoh.threads import call_limited
from muster.network.trust.identity import Identity, init_fleet, issue, load_bundle
from muster.protocol.ids import NodeId


@e2e
async def test_neighbours_are_who_their_certificates_say(members: dict[str, Identity]) -> None:
    async with pair(members) as (alpha, bravo):
        assert list(alpha.neighbours()) == [members["bravo"].node]
        assert bravo.neighbours()[alpha.node].name == "alpha"


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
            await alpha._session.shut(SECONDS_MAX)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dying:
                await until(lambda: bound(dying, alpha._session.listening[0]))
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
            assert asyncio.get_running_loop().time() - asked_s < 2 * HALF_OPEN_S
        await until(lambda: alpha.reopened == 1)
        await until(lambda: alpha.neighbours() and bravo.neighbours())
        assert await bravo.ask(alpha.node, "echo", b"", timeout_s=SECONDS_MAX) == bravo.node[:4]


@e2e
async def test_half_a_link_is_made_whole_when_nobody_asks(members: dict[str, Identity]) -> None:
    """Heartbeats are enough: bravo has nothing to ask alpha, of which it hears nothing."""
    async with pair(members) as (alpha, bravo):
        alpha._peers.clear()
        began_s = asyncio.get_running_loop().time()
        while not alpha.half_open() and not alpha.reopened:
            bravo.nudge(alpha.node, "topic", b"here")
            await asyncio.sleep(1.0)
            assert asyncio.get_running_loop().time() - began_s < 2 * HALF_OPEN_S
        await until(lambda: alpha.neighbours() and bravo.neighbours())


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
        outsider = load_bundle(issue(init_fleet(Path(directory) / "f", "north").directory, "bravo"))
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    async with opened(alpha):
        outside = quiet(outsider, ["127.0.0.1:0"], alpha.listening())
        inside = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        async with opened(outside):
            await asyncio.sleep(0.7)  # its first attempt and one more (every 0.5 s)
            async with opened(inside):
                await until(lambda: alpha.neighbours())
                assert list(alpha.neighbours()) == [members["bravo"].node]
                assert not outside.neighbours()
                assert [str(point) for point in await outside.unlinked.unlinked()] == alpha.listening()
                assert await inside.unlinked.unlinked() == []


@e2e
async def test_a_false_token_is_not_believed(members: dict[str, Identity]) -> None:
    """A member of the fleet cannot pass for another: the link's certificate is compared."""
    problems: list[str] = []
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [], on_problem=problems.append)
    async with opened(alpha):
        liar = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        carol = base64.urlsafe_b64encode(members["carol"].node).decode().rstrip("=")
        liar._session.token_key = lambda tag: f"m/{carol}/{tag}/carol"  # type: ignore[method-assign]
        async with opened(liar):
            await until(lambda: problems)
            assert "bravo" in problems[0]
            assert not alpha.neighbours()


@e2e
async def test_a_forbidden_member_is_no_neighbour(members: dict[str, Identity]) -> None:
    async with pair(members) as (alpha, bravo):
        alpha.serve("echo", echo)
        alpha.forbid(bravo.node, "bravo", b"you are out")
        assert not alpha.neighbours()
        with pytest.raises(Unreachable):
            await bravo.ask(alpha.node, "echo", b"", timeout_s=0.2)


@e2e
@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
async def test_an_ipv6_address_is_dialled(members: dict[str, Identity]) -> None:
    alpha = quiet(members["alpha"], ["[::1]:0"], [])
    async with opened(alpha):
        bravo = quiet(members["bravo"], ["[::1]:0"], alpha.listening())
        async with opened(bravo):
            await until(lambda: alpha.neighbours() and bravo.neighbours())
            assert await bravo.unlinked.unlinked() == []


@e2e
async def test_a_port_that_is_taken_in_the_last_moment_is_no_fault(members: dict[str, Identity]) -> None:
    """Two nodes that start at the same instant both see the default port free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.MonkeyPatch.context() as patch:
        other.bind(("0.0.0.0", 0))
        taken = Endpoint("0.0.0.0", other.getsockname()[1])
        seen_free, really_free = iter([taken, taken]), zenoh_listening.free_endpoint

        def free(*where: str, **port: int) -> Endpoint:
            return next(seen_free, None) or really_free(*where, **port)

        patch.setattr(zenoh_listening, "free_endpoint", free)
        link = quiet(members["alpha"], [], [])
        async with opened(link):
            assert link.listening() != [str(taken)]
            assert next(seen_free, None) is None


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
