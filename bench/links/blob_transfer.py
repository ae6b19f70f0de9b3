"""A blob over one hop against one raw TCP stream (reno), on the same emulated link.

    python bench/links/blob_transfer.py [--quick] [--json FILE] [--seconds S] [--rates KBIT_S] [--losses L]

Each cell is a link of a rate and a loss, 50 ms each way, with two pairs of nodes in namespaces on links of
the same parameters: one pair sends bytes through a plain TCP socket, the other fetches a blob with
`network.transfer` over `ZenohLink` (QUIC, mutual authentication).  Timed from the connect() and from the
fetch() on a link that is up, to the last byte; the blob's is kept on disk, fsynced and its hash checked.
*ratio* is the goodput of Muster over that of TCP; the target is 0.95.  *wire* is what the radio carried
from the holder, headers and repeats included, over the blob's size.  `cut` takes the link away for 20 s in
the middle; its times include the cut, and the wire's column shows what was sent again.  Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import random
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from muster.emulation.emulator import Emulation
from muster.emulation.radio.model import LinkParams
from muster.emulation.scenario import LinkSpec, NodeSpec, Scenario
from muster.network.blobs.transfers import Transfers
from muster.network.transport.zenoh.link import ZenohLink
from muster.network.trust.identity import load_bundle, machine_bundle
from muster.storage.disk import DiskStore

PORT = 7447
DELAY_MS = 50.0
CUT_S = 20.0
CPU_KBIT_S = 4000.0  # cells at once, as the sum of their rates: the machine must not be what is measured
SETTLE_S = 3.0


def blob_bytes(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)


# ---- inside a node ---------------------------------------------------------------------------------------


def tcp_serve(host: str, size_bytes: int) -> None:
    with socket.create_server((host, PORT)) as server:
        print(json.dumps({"ready": True}), flush=True)
        peer, _ = server.accept()
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
            peer.sendall(blob_bytes(size_bytes))
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)


def tcp_fetch(host: str, size_bytes: int) -> None:
    began, held = time.monotonic(), 0
    print(json.dumps({"began": began}), flush=True)
    with socket.create_connection((host, PORT)) as peer:
        while held < size_bytes:
            held += len(peer.recv(65536)) or sys.exit("the stream ended early")
    print(json.dumps({"took_s": time.monotonic() - began}), flush=True)


async def muster_node(bundle: Path, home: Path, listen: str, connect: Sequence[str], size_bytes: int) -> None:
    store = DiskStore(home)
    link = ZenohLink(load_bundle(bundle), [listen], list(connect), discovery=False)
    transfers = Transfers(link, store, hints=lambda blob: [])
    transfers.start()
    data = blob_bytes(size_bytes)
    if not connect:
        store.put_blob(data)
        await link.start()
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.Event().wait()
    up = asyncio.Event()
    link.watch(lambda node, there: up.set() if there else None)
    await link.start()
    await up.wait()
    await asyncio.sleep(1)
    began = time.monotonic()
    print(json.dumps({"began": began}), flush=True)
    await transfers.fetch(hashlib.sha256(data).digest(), size_bytes)
    print(json.dumps({"took_s": time.monotonic() - began}), flush=True)
    await transfers.close()
    await link.close()
    store.close()


# ---- the runs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    rate_kbit_s: float
    loss: float
    cut: bool = False

    def params(self) -> LinkParams:
        return LinkParams(rate_kbit_s=self.rate_kbit_s, delay_ms=DELAY_MS, loss=self.loss)

    def size_bytes(self, seconds: float) -> int:
        return max(65536, int(self.rate_kbit_s * 125 * seconds))


@dataclass(frozen=True)
class Result:
    rate_kbit_s: float
    loss: float
    cut: bool
    size_bytes: int
    tcp_s: float | None
    muster_s: float | None
    tcp_wire: float
    muster_wire: float

    @property
    def ratio(self) -> float | None:
        return self.tcp_s / self.muster_s if self.tcp_s and self.muster_s else None


async def one(
    net: Emulation, cell: Cell, way: str, pair: tuple[str, str], rundir: Path, size_bytes: int, limit_s: float
) -> tuple[float | None, float]:
    """Seconds (None: not within the limit) and bytes carried over bytes wanted."""
    holder, taker = pair
    here = f"{net.address(holder)}"

    async def start(node: str, listen: str, connect: Sequence[str]) -> asyncio.StreamReader:
        argv = [sys.executable, __file__, "--worker", way, "--size", str(size_bytes), "--listen", listen]
        argv += [word for point in connect for word in ("--connect", point)]
        if way == "muster":
            bundle = machine_bundle(rundir / "fleet", node)
            argv += ["--bundle", str(bundle), "--home", str(rundir / f"home-{node}")]
        process = await net.spawn(node, argv, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
        assert process.stdout is not None
        return process.stdout

    async def say(reader: asyncio.StreamReader, key: str) -> float:
        while line := await reader.readline():
            if line.startswith(b"{") and key in (entry := json.loads(line)):
                return float(entry[key])
        raise RuntimeError(f"{way} on {pair} ended without {key!r}")

    held = await start(holder, f"{here}:{PORT}", [])
    await asyncio.wait_for(say(held, "ready"), 60)
    taken = await start(taker, f"{net.address(taker)}:{PORT}", [f"{here}:{PORT}"])
    await asyncio.wait_for(say(taken, "began"), 120)
    before = (await net.counters())[holder, taker].bytes
    if cell.cut:
        await asyncio.sleep(size_bytes / (cell.rate_kbit_s * 125) / 2)
        await net.set_link(holder, taker, msgspec.structs.replace(cell.params(), up=False))
        await asyncio.sleep(CUT_S)
        await net.set_link(holder, taker, cell.params())
    try:
        took_s: float | None = await asyncio.wait_for(say(taken, "took_s"), limit_s)
    except TimeoutError:
        took_s = None
    carried = (await net.counters())[holder, taker].bytes - before
    for node in pair:
        await net.kill(node)
    return took_s, carried / size_bytes


async def measure(cells: Sequence[Cell], seconds: float, rundir: Path) -> list[Result]:
    prefixes = [f"n{number}{way}" for number in range(len(cells)) for way in "tm"]
    names = [(f"{prefix}-a", f"{prefix}-b") for prefix in prefixes]
    links = [
        LinkSpec(a, b, cells[index // 2].params(), cells[index // 2].params())
        for index, (a, b) in enumerate(names)
    ]
    nodes = tuple(NodeSpec(name) for pair in names for name in pair)
    room, changed = [CPU_KBIT_S], asyncio.Condition()

    async def run(number: int, cell: Cell) -> Result:
        size_bytes = cell.size_bytes(seconds)
        limit_s = 30 + 15 * seconds + (5 * CUT_S if cell.cut else 0)
        outcomes = []
        share = min(CPU_KBIT_S, max(cell.rate_kbit_s, 500.0))
        for index, way in enumerate(("tcp", "muster")):
            async with changed:
                await changed.wait_for(lambda: room[0] >= share)
                room[0] -= share
            try:
                pair = names[2 * number + index]
                outcomes.append(await one(net, cell, way, pair, rundir, size_bytes, limit_s))
            finally:
                async with changed:
                    room[0] += share
                    changed.notify_all()
        (tcp_s, tcp_wire), (muster_s, muster_wire) = outcomes
        result = Result(
            cell.rate_kbit_s, cell.loss, cell.cut, size_bytes, tcp_s, muster_s, tcp_wire, muster_wire
        )
        print(f"  done: {result}", file=sys.stderr, flush=True)
        return result

    async with Emulation(Scenario("bench", "", nodes, tuple(links), seed=1), rundir) as net:
        return await asyncio.gather(*(run(number, cell) for number, cell in enumerate(cells)))


def table(results: Sequence[Result]) -> str:
    lines = [
        "| rate, kbit/s | loss | cut | blob, kB | TCP reno, s | Muster, s | ratio | TCP wire | Muster wire |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        tcp, muster = (f"{s:.1f}" if s else "not in time" for s in (result.tcp_s, result.muster_s))
        ratio = f"{result.ratio:.2f}" if result.ratio else "-"
        cut = f"{CUT_S:.0f} s" if result.cut else ""
        lines.append(
            f"| {result.rate_kbit_s:g} | {result.loss:.0%} | {cut} | {result.size_bytes / 1000:.0f} "
            f"| {tcp} | {muster} | {ratio} | {result.tcp_wire:.2f} | {result.muster_wire:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer cells, 10 s of the link each")
    parser.add_argument("--seconds", type=float, help="the blob's size as seconds of the link's rate")
    parser.add_argument("--rates", type=float, nargs="+", help="kbit/s; these only, and no cuts")
    parser.add_argument("--losses", type=float, nargs="+", help="0..1")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=["tcp", "muster"], help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--listen", default="", help=argparse.SUPPRESS)
    parser.add_argument("--connect", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker == "muster":
        asyncio.run(muster_node(given.bundle, given.home, given.listen, given.connect, given.size))
        return
    if given.worker == "tcp":
        host = (given.connect or [given.listen])[0].rsplit(":", 1)[0]
        (tcp_fetch if given.connect else tcp_serve)(host, given.size)
        return
    rates = given.rates or ([64, 256, 1000, 5000] if given.quick else [64, 256, 1000, 5000, 20000])
    losses = given.losses or ([0, 0.01] if given.quick else [0, 0.01, 0.05])
    cells = [Cell(rate, loss) for rate in rates for loss in losses]
    if not given.rates:
        cells += [Cell(rate, 0, cut=True) for rate in ([256] if given.quick else [64, 256, 1000, 5000])]
    with tempfile.TemporaryDirectory() as temporary:
        seconds = given.seconds or (10.0 if given.quick else 30.0)
        results = asyncio.run(measure(cells, seconds, Path(temporary)))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    print(f"{machine}; {DELAY_MS:g} ms each way\n")
    print(table(results))
    if given.json:
        entries = [{**asdict(result), "ratio": result.ratio} for result in results]
        given.json.write_text(json.dumps(entries, indent=1))


if __name__ == "__main__":
    main()
