"""A made-up fleet at work behind a real page server: for looking at the page and for measuring its cost.

    python bench/page/synthetic.py --nodes 200 --commits 2000 --rate 20 --port 8123

Everything in it is drawn from a seed; nothing is trained.  Links can be changed as in an emulation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

import msgspec

from madeup import FIRST, Fleet
from muster.dashboard.feed import Feed
from muster.dashboard.http.app import AppDeps, build
from muster.dashboard.http.requests import LinkParameters, LinkRequest
from muster.dashboard.presets import PRESETS
from muster.errors import MusterError
from muster.http.access import Access
from muster.http.address import Address, listen, url
from muster.http.server import serving
from muster.node.api.rows.changes import Row
from muster.simulation import faults
from muster.simulation.faults import Fault


class MadeUpClients:
    """Stands for the emulator of a made-up fleet; its node refuses everything."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._feed = fleet, fleet.feed

    async def ask(self, op: str, timeout_s: float, **arguments: Any) -> Any:
        raise MusterError("no_node", "this fleet is made up: there is no node behind it")

    async def set_link(self, request: LinkRequest) -> None:
        links = self._feed.tables["links"]
        link = links.get(f"{request.a}|{request.b}")
        there, back = request.there, request.back
        if link is None:
            link, there, back = links.get(f"{request.b}|{request.a}"), back, there
        if link is None:
            raise MusterError("scenario", f"there is no link {request.a} - {request.b}")
        preset = next((p for p in PRESETS if p.id == request.preset), None)
        if preset is not None:
            there, back = preset.there, preset.back
        self._fleet.set_link(link, _given(there), _given(back), preset=request.preset)

    async def apply(self, fault: Fault) -> None:
        fleet, feed = self._fleet, self._feed
        known = feed.tables["nodes"]
        for name in faults.names_in(fault):
            if name not in known:
                raise MusterError("scenario", f"there is no node {name!r}")
        pairs = [pair for a, b in fleet.pairs for pair in ((a, b), (b, a))]
        changes = faults.link_changes(fault, pairs)
        for a, b in fleet.pairs:
            if (a, b) in changes or (b, a) in changes:
                there, back = changes.get((a, b), {}), changes.get((b, a), {})
                fleet.set_link(feed.tables["links"][f"{a}|{b}"], there, back)
        state = {"kill": ("gone", "ended"), "pause": ("paused", "paused"), "leave": ("away", "running")}
        kind = str(faults.to_dict(fault)["fault"])
        for name in faults.names_in(fault) if not changes else ():
            shown, process = state.get(kind, ("idle", "running"))
            emulated = {**known[name]["emulated"], "process": process, "away": kind == "leave"}
            feed.publish({"nodes": {name: {"state": shown, "emulated": emulated}}})
        names = tuple(sorted(faults.names_in(fault)))
        mark = fleet.mark(kind, f"{kind} {' '.join(names)}", names)
        feed.publish({"marks": {mark["id"]: mark}})
        feed.add_line("fault", mark["text"])


def _given(parameters: LinkParameters) -> Row:
    return {key: value for key, value in msgspec.to_builtins(parameters).items() if value is not None}


def header(first: str) -> Row:
    return {
        "api": 1,
        "version": "0.1.0",
        "view": first,
        "title": "a made-up fleet",
        "emulated": True,
        "source": {"state": "live", "since_t": 0.0, "reason": ""},
        "job": None,
        "tasks": ["digits"],
        "presets": [msgspec.to_builtins(preset) for preset in PRESETS],
    }


async def run(nodes: int, commits: int, rate: float, port: int | None, host: str = "127.0.0.1") -> None:
    """Serve until cancelled, `rate` events a second."""
    feed = Feed(header(FIRST[0]))
    fleet = Fleet(feed, nodes=nodes, commits=commits)
    feed.describe({"job": fleet.job})
    clients = MadeUpClients(fleet)
    sock = listen(Address(host, port))
    access = Access.for_host(host, sock.getsockname()[1])
    async with serving(build(AppDeps(feed, access, clients, clients)), sock, feed.close):
        place = url(sock, host)
        for token, role in access.tokens.items():
            print(f"{role}: {place}#token={token}", flush=True)
        print(place, flush=True)
        loop, number = asyncio.get_running_loop(), 0
        start_s = loop.time()
        while True:
            number += 1
            await asyncio.sleep(start_s + number / rate - loop.time())
            feed.fresh_t = feed.t()
            fleet.happen(number)
            feed.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=20.0, help="events a second")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.nodes, given.commits, given.rate, given.port, given.host))


if __name__ == "__main__":
    main()
