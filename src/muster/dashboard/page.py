"""The page put together: a feed, the node that is looked at, the emulator if there is one, a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from muster import __version__
from muster.dashboard.emulated import EmulatedNetwork
from muster.dashboard.feed import Feed
from muster.dashboard.http.app import AppDeps, build
from muster.dashboard.page_messages import API
from muster.dashboard.presets import PRESETS
from muster.dashboard.source import NodeSource
from muster.dashboard.state_merger import StateMerger
from muster.http.access import Access
from muster.http.address import Address, listen, url
from muster.http.server import serving
from muster.network.supervisor import Supervisor
from muster.node.api.rows.changes import Row

EMULATION_SOCKET = "control.sock"


@dataclass(frozen=True)
class OpenPage:
    """Where the page is. `addresses`: role and address with its token; one without a token on loopback."""

    addresses: tuple[tuple[str, str], ...]
    feed: Feed

    @property
    def own(self) -> str:
        """The address for whoever started it."""
        return self.addresses[0][1]

    def lines(self) -> list[str]:
        """For the terminal: the tokens are shown this once."""
        if len(self.addresses) == 1:
            return [f"page: {self.own}"]
        return [f"page for the {role}: {place}" for role, place in self.addresses]


def emulation_of(home: Path) -> Path | None:
    """The run directory of the emulation that a node belongs to: it keeps the homes of its nodes."""
    rundir = home.absolute().parent
    return rundir if (rundir / EMULATION_SOCKET).is_socket() else None


@contextlib.asynccontextmanager
async def open_page(
    home: Path | Callable[[], Path], where: Address, *, title: str = "", rundir: Path | None = None
) -> AsyncIterator[OpenPage]:
    """Serve the page on the node in `home`; `rundir`: that of the emulation around it. Raises MusterError."""
    sock = listen(where)
    feed = Feed(header(title, emulated=rundir is not None))
    merger = StateMerger(feed, emulated=rundir is not None)
    found = home if callable(home) else lambda: home
    source = NodeSource(merger, found)
    network = EmulatedNetwork(merger, rundir) if rundir is not None else None
    access = Access.for_host(where.host, sock.getsockname()[1])
    app = build(AppDeps(feed, access, source, network))
    supervisor = Supervisor(lambda sentence, job: feed.add_line("page", sentence))
    supervisor.keep("following the node", lambda pulse: source.run())
    if network is not None:
        supervisor.keep("following the emulated network", lambda pulse: network.run())
    place = url(sock, where.host)
    addresses = [(role, f"{place}#token={token}") for token, role in access.tokens.items()]
    try:
        async with serving(app, sock, feed.close):
            yield OpenPage(tuple(addresses or [("operator", place)]), feed)
    finally:
        await supervisor.close()


def header(title: str, *, emulated: bool) -> Row:
    return {
        "api": API,
        "version": __version__,
        "view": None,
        "title": title,
        "emulated": emulated,
        "source": {"state": "silent", "since_t": 0.0, "reason": "not asked yet"},
        "job": None,
        "tasks": [],
        "presets": [msgspec.to_builtins(preset) for preset in PRESETS] if emulated else [],
    }
