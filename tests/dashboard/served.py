"""A page server without a node behind it, on a real port, for browser tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pages import FakeClients, Made, make

from madeup import Fleet
from muster.http.address import Address, listen
from muster.http.server import serving
from patience import patient_s

Result = TypeVar("Result")
STRANGE = "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'>"


class Served:
    """`make(...)` and a small made-up fleet in it, served by a thread of its own."""

    def __init__(self, made: Made, loop: asyncio.AbstractEventLoop, url: str) -> None:
        self.clients: FakeClients = made.clients
        self.feed = made.feed
        self.url = url
        self.fleet: Any = None
        self._loop = loop

    def do(self, act: Callable[[], Result]) -> Result:
        """Run in the server's loop, as everything that publishes must."""

        async def run() -> Result:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def publish(self, **tables: Any) -> None:
        self.do(lambda: self.feed.publish(tables))

    def state(self) -> dict[str, Any]:
        return self.do(lambda: {**self.feed.tables, "id": f"{self.feed.boot}-{self.feed.sequence}"})


@contextmanager
def serve(*, tokens: bool = False, emulated: bool = True) -> Iterator[Served]:
    started = threading.Event()
    found: list[Served] = []
    ending: list[asyncio.Event] = []

    async def main() -> None:
        made = make(tokens=tokens, emulated=emulated)
        sock = listen(Address("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        served = Served(made, asyncio.get_running_loop(), url)
        end = asyncio.Event()
        ending.append(end)
        async with serving(made.app, sock, made.feed.close):
            made.feed.fresh_t = made.feed.t()
            served.fleet = Fleet(made.feed, nodes=4, commits=70)
            source = {"state": "live", "since_t": 0.0, "reason": ""}
            made.feed.describe({"job": served.fleet.job, "view": "alpha", "source": source})
            found.append(served)
            started.set()
            while not end.is_set():
                made.feed.fresh_t = made.feed.t()
                await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(patient_s(20))
    try:
        yield found[0]
    finally:
        found[0].do(ending[0].set)
        thread.join(patient_s(20))
        assert not thread.is_alive()
