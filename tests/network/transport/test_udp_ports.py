"""A port is taken back from sockets that are still open, and from no others."""

from __future__ import annotations

import os
import socket

from muster.network.transport.zenoh.udp_ports import take_back


def bound(host: str, kind: int = socket.SOCK_DGRAM, port: int = 0) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    opened.bind((host, port))
    return opened


def test_a_port_is_free_though_its_socket_is_open() -> None:
    with bound("127.0.0.1") as left, bound("127.0.0.1") as other:
        port, other_port = left.getsockname()[1], other.getsockname()[1]
        assert take_back("127.0.0.1", port) == 1
        with bound("127.0.0.1", port=port) as again:
            again.settimeout(5)
            with bound("127.0.0.1") as sender:
                sender.sendto(b"hello", ("127.0.0.1", port))
            assert again.recv(10) == b"hello"
        assert left.getsockname()[1] != port
        assert not os.get_blocking(left.fileno())  # whoever reads from it once more does not wait for ever
        assert other.getsockname()[1] == other_port


def test_other_addresses_and_other_kinds_of_sockets_keep_theirs() -> None:
    with bound("127.0.0.1") as udp:
        port = udp.getsockname()[1]
        with bound("127.0.0.2", port=port) as elsewhere, bound("127.0.0.1", socket.SOCK_STREAM, port) as tcp:
            assert take_back("127.0.0.3", port) == 0
            assert take_back("not.an.address", port) == 0
            assert take_back("127.0.0.1", port) == 1
            assert elsewhere.getsockname() == ("127.0.0.2", port)
            assert tcp.getsockname() == ("127.0.0.1", port)


def test_the_wildcard_address_too() -> None:
    with bound("::") as left:
        port = left.getsockname()[1]
        assert take_back("::", port) == 1
        with bound("::", port=port) as again:
            assert again.getsockname()[1] == port
