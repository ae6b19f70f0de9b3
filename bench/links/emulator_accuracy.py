"""How closely the emulated radio follows its settings: rate, delay, jitter, loss; and how much it carries.

    python bench/links/emulator_accuracy.py [--quick] [--json FILE] [--seed N]

Two nodes in namespaces; one sends numbered UDP datagrams with the time in them, the other notes when they
arrive (both read the same monotonic clock).  Targets: rate within 1 %, delay within 1 ms, loss within 5 %
relative.  Loss has sampling noise of its own: `expected noise` is one standard deviation of a perfect
emulator's result with as many frames.  Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from muster.emulation.emulator import Emulation
from muster.emulation.radio.bursts import Burst
from muster.emulation.radio.model import LinkParams
from muster.emulation.scenario_file import parse

PORT = 5000
HEADERS_BYTES = 42  # Ethernet 14, IPv4 20, UDP 8
STAMP = struct.Struct("!Id")
TWO = 'nodes = [{ name = "alpha" }, { name = "bravo" }]\n[[links]]\na = "alpha"\nb = "bravo"\n'


@dataclass(frozen=True)
class Row:
    link: str
    measure: str
    unit: str
    set_to: float
    measured: float
    frames: int
    target: str
    expected_noise: float = 0.0

    @property
    def error(self) -> str:
        if self.unit == "ms":
            return f"{self.measured - self.set_to:+.2f} ms"
        return f"{(self.measured / self.set_to - 1) * 100:+.2f} %" if self.set_to else "-"


def send(host: str, count: int, wire_bytes: int, frames_s: float, catch_up: bool) -> None:
    """Send `count` datagrams, paced; runs inside a node. Catching up makes bursts, which queue."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect((host, PORT))
    padding = bytes(wire_bytes - HEADERS_BYTES - STAMP.size)
    start_s = time.monotonic()
    for number in range(count):
        if frames_s:
            ahead_s = start_s + number / frames_s - time.monotonic()
            if ahead_s > 0.0005:  # shorter sleeps cost more than they give
                time.sleep(ahead_s)
            elif not catch_up:
                start_s -= ahead_s
        out.send(STAMP.pack(number, time.monotonic()) + padding)


def receive(silence_s: float, out: str) -> None:
    """Write (number, sent at, arrived at) of each datagram until none has come for `silence_s`."""
    incoming = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    incoming.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024 * 1024)
    incoming.bind(("", PORT))
    incoming.settimeout(silence_s)
    print("ready", flush=True)
    seen: list[tuple[int, float, float]] = []
    try:
        while True:
            data = incoming.recv(2048)
            now_s = time.monotonic()
            seen.append((*STAMP.unpack_from(data), now_s))
    except TimeoutError:
        Path(out).write_text(json.dumps(seen))


async def measure(
    net: Emulation, params: LinkParams, count: int, wire_bytes: int, frames_s: float, catch_up: bool = True
) -> list[tuple[int, float, float]]:
    await net.set_link("alpha", "bravo", params)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seen.json"
        silence_s = 2.0 + params.delay_ms / 1000 + 2 * wire_bytes * 8 / (params.rate_kbit_s * 1000)
        me = [sys.executable, __file__]
        receiver = await net.spawn(
            "bravo", [*me, "--receive", str(silence_s), str(out)], stdout=subprocess.PIPE
        )
        assert receiver.stdout is not None
        await receiver.stdout.readline()
        words = [net.address("bravo"), str(count), str(wire_bytes), str(frames_s), str(int(catch_up))]
        sender = await net.spawn("alpha", [*me, "--send", *words])
        await sender.wait()
        await receiver.wait()
        return [tuple(entry) for entry in json.loads(out.read_text())]


def describe(params: LinkParams) -> str:
    rate = params.rate_kbit_s
    text = f"{rate / 1000:g} Mbit/s" if rate >= 1000 else f"{rate:g} kbit/s"
    text += f", {params.delay_ms:g} ms"
    if params.jitter_ms:
        text += f" ± {params.jitter_ms:g} ms"
    if params.loss:
        text += f", {params.loss * 100:g} % loss"
    if params.burst:
        text += f", bursts of {1 / params.burst.p_bad_to_good:g}"
    return text


async def rate(net: Emulation, params: LinkParams, seconds: float) -> Row:
    wire_bytes = 1242 if params.rate_kbit_s > 100 else 242
    frames_s = params.rate_kbit_s * 1000 / 8 / wire_bytes
    seen = await measure(net, params, max(20, int(frames_s * seconds * 1.2)), wire_bytes, frames_s * 1.2)
    span_s = seen[-1][2] - seen[0][2]
    measured = (len(seen) - 1) * wire_bytes * 8 / span_s / 1000
    return Row(describe(params), "rate", "kbit/s", params.rate_kbit_s, measured, len(seen), "1 %")


async def delay(net: Emulation, params: LinkParams, count: int) -> list[Row]:
    wire_bytes = 100
    air_ms = wire_bytes * 8 / params.rate_kbit_s
    # Far enough apart that keeping the order never delays a frame.
    frames_s = 1000 / (air_ms + 2 * params.jitter_ms + 5)
    seen = await measure(net, params, count, wire_bytes, frames_s, catch_up=False)
    delays_ms = [(arrived_s - sent_s) * 1000 for _, sent_s, arrived_s in seen]
    name, frames = describe(params), len(seen)
    expected_ms = params.delay_ms + air_ms
    rows = [Row(name, "delay, median", "ms", expected_ms, statistics.median(delays_ms), frames, "1 ms")]
    if params.jitter_ms:
        spread_ms = params.jitter_ms / math.sqrt(3)  # of a uniform distribution
        noise_ms = spread_ms * 0.45 / math.sqrt(frames)
        rows[0] = Row(
            name,
            "delay, mean",
            "ms",
            expected_ms,
            statistics.mean(delays_ms),
            frames,
            "1 ms",
            spread_ms / math.sqrt(frames),
        )
        rows.append(
            Row(
                name, "jitter, deviation", "ms", spread_ms, statistics.pstdev(delays_ms), frames, "", noise_ms
            )
        )
    else:
        p99_ms = statistics.quantiles(delays_ms, n=100)[98]
        rows.append(Row(name, "delay, 99th percentile", "ms", expected_ms, p99_ms, frames, ""))
    return rows


async def loss(net: Emulation, params: LinkParams, count: int) -> Row:
    seen = await measure(net, params, count, 100, 5000)
    measured = 1 - len(seen) / count
    if params.burst is None:
        expected = params.loss
        noise = math.sqrt((1 - expected) / (expected * count))
    else:
        good, bad = params.burst.p_good_to_bad, params.burst.p_bad_to_good
        share = good / (good + bad)
        expected = share * params.burst.loss_bad
        # variance of the mean of a two-state chain with correlation 1 - good - bad
        correlation = 1 - good - bad
        noise = math.sqrt((1 - share) / share / count * (1 + correlation) / (1 - correlation))
    return Row(describe(params), "loss", "%", expected * 100, measured * 100, count, "5 %", noise * 100)


async def ceiling(net: Emulation, wire_bytes: int, count: int) -> Row:
    """As many frames as the forwarder passes on when it is offered as many as a sender can."""
    params = LinkParams(rate_kbit_s=10_000_000, queue_bytes=16 * 1024 * 1024)
    await net.set_link("alpha", "bravo", params)
    before = (await net.counters())["alpha", "bravo"].delivered_frames
    me = [sys.executable, __file__]
    # It takes what comes and never reads it, so as to leave the cores to the sender and the forwarder.
    sink = await net.spawn("bravo", [*me, "--sink"], stdout=subprocess.PIPE)
    assert sink.stdout is not None
    await sink.stdout.readline()
    sender = await net.spawn(
        "alpha", [*me, "--send", net.address("bravo"), str(count), str(wire_bytes), "0", "1"]
    )

    async def delivered() -> tuple[float, int]:
        return time.monotonic(), (await net.counters())["alpha", "bravo"].delivered_frames - before

    started = await delivered()
    while not started[1]:
        started = await delivered()
        await asyncio.sleep(0.01)
    await sender.wait()
    ended = await delivered()
    await sink.kill()
    frames_s = (ended[1] - started[1]) / (ended[0] - started[0])
    return Row(f"no limit, {wire_bytes} bytes", "frames carried", "1/s", 0, frames_s, ended[1], "")


async def run(quick: bool, seed: int) -> list[Row]:
    rows: list[Row] = []
    scenario = parse(f"seed = {seed}\n{TWO}", "two", "two.toml")
    with tempfile.TemporaryDirectory() as folder:
        async with Emulation(scenario, Path(folder)) as net:
            seconds = 3 if quick else 10
            kinds = [(9.6, 300.0), (64, 200.0), (128, 300.0), (256, 100.0), (1000, 50.0), (5000, 20.0)]
            kinds += [(20_000, 10.0), (100_000, 1.0)]
            for rate_kbit_s, delay_ms in kinds[1::2] if quick else kinds:
                params = LinkParams(rate_kbit_s=rate_kbit_s, delay_ms=delay_ms)
                longer = 4 if rate_kbit_s < 20 else 1
                rows.append(await rate(net, params, seconds * longer))
                rows += await delay(net, params, 50 if quick or rate_kbit_s < 20 else 200)
            for delay_ms, jitter_ms in ((50, 10), (300, 100)):
                params = LinkParams(rate_kbit_s=10_000, delay_ms=delay_ms, jitter_ms=jitter_ms)
                rows += await delay(net, params, 20 if quick else 200)
            for chance in (0.01, 0.02, 0.05, 0.2):
                params = LinkParams(rate_kbit_s=100_000, delay_ms=1, loss=chance)
                rows.append(await loss(net, params, int(min(100_000, (50 if quick else 2000) / chance))))
            burst = Burst(p_good_to_bad=0.01, p_bad_to_good=0.1)
            params = LinkParams(rate_kbit_s=100_000, delay_ms=1, burst=burst)
            rows.append(await loss(net, params, 5_000 if quick else 100_000))
            for wire_bytes in (64, 1500):
                rows.append(await ceiling(net, wire_bytes, 20_000 if quick else 200_000))
    return rows


def markdown(rows: list[Row]) -> str:
    lines = [
        "| link | measure | set | measured | error | target | expected noise | frames |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        noise = (
            f"± {row.expected_noise:.2f} {'ms' if row.unit == 'ms' else '%'}" if row.expected_noise else ""
        )
        set_to = f"{row.set_to:.5g} {row.unit}" if row.set_to else "-"
        lines.append(
            f"| {row.link} | {row.measure} | {set_to} | {row.measured:.5g} {row.unit} | {row.error} "
            f"| {row.target} | {noise} | {row.frames} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one minute instead of some five")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--send", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--receive", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.send:
        host, count, wire_bytes, frames_s, catch_up = words.send
        send(host, int(count), int(wire_bytes), float(frames_s), catch_up == "1")
    elif words.sink:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as incoming:
            incoming.bind(("", PORT))
            print("ready", flush=True)
            signal.pause()
    elif words.receive:
        receive(float(words.receive[0]), words.receive[1])
    else:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
        rows = asyncio.run(run(words.quick, words.seed))
        print(f"Machine: {machine}, Python {platform.python_version()}\n\n{markdown(rows)}")
        if words.json:
            figures = [asdict(row) for row in rows]
            words.json.write_text(json.dumps({"machine": machine, "rows": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
