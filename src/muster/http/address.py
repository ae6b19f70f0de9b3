"""Where something is served: reading an address, taking a port."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from functools import lru_cache

from muster.errors import MusterError

PORT = 7450  # of the page
PORTS_TRIED = 20


@dataclass(frozen=True)
class Address:
    """Where a server is asked to be. Port None: the usual one, or the next that is free."""

    host: str = "127.0.0.1"
    port: int | None = None


def address(text: str) -> Address:
    """HOST, PORT, HOST:PORT or nothing. Raises MusterError usage.

    >>> address(""), address("8000").port, address("0.0.0.0").host, address("[::1]:80")
    (Address(host='127.0.0.1', port=None), 8000, '0.0.0.0', Address(host='::1', port=80))
    """
    if not text:
        return Address()
    if text.isascii() and text.isdigit():
        host, port = "127.0.0.1", text
    elif text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not host or text.endswith(":") or text.count("[") != text.count("]") or not _is_port(port):
        raise MusterError("usage", f"{text!r} is no address for the page: write HOST:PORT, HOST or PORT")
    return Address(host, int(port) if port else None)


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and int(text) <= 65535)


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can connect to an address.

    >>> [is_loopback(h) for h in ("localhost", "127.0.0.5", "::1", "0.0.0.0", "gate.example")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(where: Address, *, usual: int = PORT, what: str = "the page") -> socket.socket:
    """A listening socket. `usual`: the port that is tried first where none is asked for; `what` is served.

    Raises MusterError port_in_use or usage.
    """
    ports = [where.port] if where.port is not None else [*range(usual, usual + PORTS_TRIED), 0]
    for port in ports:
        try:
            return _bind(where.host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise MusterError(
                    "usage", f"{what} cannot be served at {where.host}: {error.strerror or error}"
                ) from error
    raise MusterError(
        "port_in_use", f"another program has port {where.port}: choose one for {what}, or leave it out"
    )


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen(128)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def url(sock: socket.socket, host: str) -> str:
    """The address for a browser; for "every interface" that of this machine."""
    port = sock.getsockname()[1]
    shown = _outward(sock.family) if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def _outward(family: int) -> str:
    """The address that this machine uses towards others; its name when it has no route. Sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1" if family == socket.AF_INET else "2001:db8::1", 9))
            found: str = probe.getsockname()[0]
        except OSError:
            return socket.gethostname()
    return found
