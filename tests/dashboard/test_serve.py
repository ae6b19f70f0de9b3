"""The server itself: addresses, ports, and that it ends although streams are open."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from pages import make

from muster.dashboard.page import emulation_of
from muster.errors import MusterError
from muster.http.address import Address, address, listen, url
from muster.http.server import serving
from patience import patient_s


@pytest.mark.parametrize("text", ["a:b", ":80", "1.2.3.4:70000", "host:", "[::1"])
def test_a_bad_address_is_named(text: str) -> None:
    with pytest.raises(MusterError) as caught:
        address(text)
    assert caught.value.code == "usage"


def test_a_busy_port_is_told_and_the_default_goes_on_to_the_next() -> None:
    with listen(Address("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MusterError) as caught:
            listen(Address("127.0.0.1", port))
        assert caught.value.code == "port_in_use"
    with listen(Address()) as one, listen(Address()) as two:
        assert one.getsockname()[1] != two.getsockname()[1]
        assert url(one, "127.0.0.1") == f"http://127.0.0.1:{one.getsockname()[1]}/"
    with listen(Address("0.0.0.0", 0)) as everywhere:
        assert "0.0.0.0" not in url(everywhere, "0.0.0.0")  # no address that a phone could open
    with pytest.raises(MusterError) as caught:
        listen(Address("192.0.2.1", 0))  # not this machine's
    assert caught.value.code == "usage"


def test_an_open_stream_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> float:
        sock = listen(Address("127.0.0.1", 0))
        place = sock.getsockname()
        made = make()
        async with serving(made.app, sock, made.feed.close):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(f"GET /api/events HTTP/1.1\r\nHost: localhost:{place[1]}\r\n\r\n".encode())
            head = await reader.readuntil(b"event: snapshot")
            assert b"200 OK" in head
            assert b"text/event-stream" in head
            began_s = time.monotonic()
        ended_s = time.monotonic() - began_s
        writer.close()
        with pytest.raises(OSError), socket.create_connection(place, timeout=1):
            pass
        return ended_s

    assert asyncio.run(main()) < 5
    assert caplog.records == []  # nobody's terminal is told of it


def test_a_reader_that_leaves_is_forgotten() -> None:
    async def main() -> None:
        made = make()
        sock = listen(Address("127.0.0.1", 0))
        place = sock.getsockname()
        async with serving(made.app, sock, made.feed.close):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(f"GET /api/events HTTP/1.1\r\nHost: localhost:{place[1]}\r\n\r\n".encode())
            await reader.readuntil(b"event: snapshot")
            assert made.feed.readers == 1
            writer.close()
            async with asyncio.timeout(patient_s(10)):
                while made.feed.readers:
                    made.feed.add_line("job", "news")
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_node_in_an_emulation_is_known_by_its_neighbour_socket(tmp_path: Path) -> None:
    home = tmp_path / "alpha"
    home.mkdir()
    assert emulation_of(home) is None
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "control.sock"))
        assert emulation_of(home) == tmp_path
