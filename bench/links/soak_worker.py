"""The node side of the soak: one link, asking all the time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Sequence
from pathlib import Path

from muster.network.transport.link import Refused, Unreachable, Urgency
from muster.network.transport.zenoh.config import PROFILES
from muster.network.transport.zenoh.link import ZenohLink
from muster.network.trust.identity import load_bundle
from muster.protocol.ids import NodeId

ANSWER_S = 5.0
BULK_BYTES = 8192


async def work(
    bundle: Path, listen: str, connect: Sequence[str], profile: str, every_s: float, quiet: bool
) -> None:
    """One node until SIGTERM; a line of JSON on stdout for each attempt (loop time = monotonic clock)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    link = ZenohLink(
        load_bundle(bundle),
        [listen],
        list(connect),
        discovery=False,
        profile=PROFILES[profile],
        on_problem=lambda sentence: say(problem=sentence, t=loop.time()),
    )

    def say(**entry: object) -> None:
        print(json.dumps(entry), flush=True)

    async def answer(node: NodeId, payload: bytes) -> bytes:
        return bytes(BULK_BYTES) if payload == b"bulk" else payload

    async def pester(node: NodeId, name: str) -> None:
        number = 0
        while True:
            began = loop.time()
            up, ok = node in link.neighbours(), False
            number += 1
            bulk = number % 5 == 0
            if up:
                with contextlib.suppress(Unreachable, Refused):
                    await link.ask(
                        node,
                        "x",
                        b"bulk" if bulk else bytes(100),
                        timeout_s=ANSWER_S,
                        urgency=Urgency.BULK if bulk else Urgency.CONTROL,
                    )
                    ok = True
            acts = {"reopened": link.reopened, "renewed": link.renewed}
            say(began=began, t=loop.time(), peer=name, up=up, ok=ok, bulk=bulk, **acts)
            await asyncio.sleep(max(0.0, every_s - (loop.time() - began)))

    known: dict[NodeId, asyncio.Task[None]] = {}

    def watch(node: NodeId, up: bool) -> None:
        neighbour = link.neighbours().get(node)
        say(change=neighbour.name if neighbour else "", up=up, t=loop.time())
        if up and node not in known and not quiet:
            known[node] = loop.create_task(pester(node, neighbour.name if neighbour else node.hex()[:8]))

    link.serve("x", answer)
    link.watch(watch)
    await link.start()
    await stop.wait()
    say(t=loop.time(), resident_kb=_resident_kb())
    for task in known.values():
        task.cancel()
    await link.close()


def _resident_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])
