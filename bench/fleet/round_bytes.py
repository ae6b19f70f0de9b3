"""Where the bytes of a round go on a narrow link, layer by layer, from the emulator's count to the payload.

    python bench/fleet/round_bytes.py [--data mnist.npz] [--rounds 12] [--leaves 9] [--codec stc:0.02]
                                [--steps 50] [--json FILE] [--svg docs/notes/round-bytes.svg]

A star of real daemons, all links 9.6 kbit/s, 300 ms, 1 % loss; the hub asks for a job.  Frames and bytes are
counted at the emulator (Ethernet, IP and UDP take 42 bytes of a frame), payload, records, exchange and words
by the senders (`traffic_counters`); between them is QUIC, TLS and Zenoh: packet headers, authentication
tags, acknowledgements, keep-alives, what QUIC sent again.  Figures are means over the links and rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.cli.demo.stories.narrow import MNIST as NARROW_MNIST
from muster.cli.demo.stories.narrow import OPTIONS as NARROW_OPTIONS
from muster.emulation.radio.model import LinkCount
from muster.emulation.scenario_file import parse
from muster.node.api.snapshot import SentView, Snapshot
from small_fleet import SmallFleet, machine, small_fleet, write

HEADERS_BYTES = 42  # Ethernet 14, IPv4 20, UDP 8
LAYERS = ("payload", "records", "exchange", "presence", "engine", "headers")
WORDS = {
    "payload": "payload: encoded tensors",
    "records": "records: signatures, identifiers, fields",
    "exchange": "exchange: announcements, questions",
    "presence": "presence",
    "engine": "QUIC and Zenoh, acknowledgements, keep-alives",
    "headers": "Ethernet, IP, UDP",
}
COLOURS = ("#1b7837", "#7fbf7b", "#c2a5cf", "#9970ab", "#fdae61", "#bdbdbd")


def star(leaves: int, model: str) -> str:
    names = ["hub", *(f"leaf-{n}" for n in range(1, leaves + 1))]
    data = f', data = {{ model = "{model}", split = "classes:2" }}' if model else ""
    nodes = ", ".join(f'{{ name = "{name}"{data} }}' for name in names)
    members = ", ".join(f'"{name}"' for name in names[1:])
    return f"""
nodes = [{nodes}]
[[stars]]
hub = "hub"
nodes = [{members}]
link = {{ rate_kbit_s = 9.6, delay_ms = 300, loss = 0.01 }}
"""


@dataclass(frozen=True)
class Reading:
    """Everything that is counted, at one moment."""

    at_s: float
    air: dict[tuple[str, str], LinkCount]
    sent: dict[str, SentView]


def recipe(arguments: argparse.Namespace, count: int) -> dict[str, Any]:
    """What `muster demo --story narrow` asks for, unless told otherwise."""
    found = NARROW_OPTIONS | (NARROW_MNIST if arguments.data else {"codec": "stc:0.02", "rounds": 20})
    given = {"rounds": arguments.rounds, "steps": arguments.steps, "codec": arguments.codec}
    given["down_codec"] = arguments.codec
    return found | {key: value for key, value in given.items() if value} | {"min_nodes": count - 1}


async def look(fleet: SmallFleet) -> dict[str, Snapshot]:
    found = {}
    for name in fleet.request.scenario.names():
        while (seen := await fleet.snapshot(name)) is None:
            await asyncio.sleep(0.2)
        found[name] = seen
    return found


async def read(fleet: SmallFleet) -> Reading:
    seen = await look(fleet)
    return Reading(time.monotonic(), await fleet.net.counters(), {n: s.node.sent for n, s in seen.items()})


def layers(before: Reading, after: Reading, upwards: bool) -> dict[str, int]:
    """Bytes from the leaves to the hub, or the other way, by layer."""
    senders = [n for n in after.sent if (n != "hub") == upwards]
    pairs = [pair for pair in after.air if pair[0] in senders]
    wire = sum(after.air[p].bytes - before.air[p].bytes for p in pairs)
    frames = sum(after.air[p].frames - before.air[p].frames for p in pairs)
    found = {
        layer: sum(getattr(after.sent[n], layer) - getattr(before.sent[n], layer) for n in senders)
        for layer in LAYERS[:4]
    }
    found["headers"] = HEADERS_BYTES * frames
    found["engine"] = wire - found["headers"] - sum(found[layer] for layer in LAYERS[:4])
    return found


async def measure(arguments: argparse.Namespace) -> dict[str, object]:
    task = "mnist" if arguments.data else "digits"
    scenario = parse(star(arguments.leaves, "cnn6k" if arguments.data else ""), "star", "bench")
    count = arguments.leaves + 1
    data = arguments.data.absolute() if arguments.data else None
    async with small_fleet(scenario, task, data, profile="narrow") as fleet:
        start = time.monotonic()
        zero = Reading(
            start, dict.fromkeys(await fleet.net.counters(), LinkCount()),
            dict.fromkeys(scenario.names(), SentView()),
        )  # fmt: skip
        for number in range(count):
            await fleet.spawn(number)
        while any(len(s.peers) < count - 1 for s in (await look(fleet)).values()):
            await asyncio.sleep(0.5)
            if time.monotonic() - start > 200:
                raise SystemExit("the nodes did not get to know each other within 200 s")
        ready = await read(fleet)
        job = await asyncio.to_thread(fleet.client("hub").train, task, **recipe(arguments, count))
        marks: list[tuple[int, Reading]] = []
        accuracy, view = None, None
        while time.monotonic() - start < arguments.limit_s:
            hub = await fleet.snapshot("hub")
            view = next((j for j in hub.jobs if j.id == job), None) if hub else None
            if view is not None:
                accuracy = view.accuracy
                if not marks or view.round > marks[-1][0]:
                    marks.append((view.round, await read(fleet)))
                if view.state == "finished":
                    break
            await asyncio.sleep(0.2)
        else:
            words = (fleet.rundir / "hub" / "output.log").read_text().splitlines()[-15:]
            why = view.why if view is not None else "the hub does not answer"
            print("\n".join(["not finished within the limit:", why, *words]))
        end = await read(fleet)
        log = await asyncio.to_thread(fleet.client("hub").log, job)
    first, last = next(m for m in marks if m[0] >= 1), marks[-1]
    rounds = max(1, last[0] - first[0])
    per = rounds * arguments.leaves
    ways = {way: layers(first[1], last[1], way == "up") for way in ("up", "down")}
    return {
        "machine": machine(), "task": task, "codec": arguments.codec, "leaves": arguments.leaves,
        "rounds": last[0], "accuracy": accuracy,
        "accuracy_by_round": [[c.round, c.accuracy] for c in log.commits if c.accuracy is not None],
        "setup_s": ready.at_s - zero.at_s, "round_s": (last[1].at_s - first[1].at_s) / rounds,
        "job_s": end.at_s - ready.at_s,
        "setup_bytes_per_link": {
            way: {k: v / arguments.leaves for k, v in layers(zero, ready, way == "up").items()}
            for way in ways
        },
        "round_bytes_per_link": {way: {k: v / per for k, v in found.items()} for way, found in ways.items()},
        "job_bytes_per_link": {
            way: {k: v / arguments.leaves for k, v in layers(ready, end, way == "up").items()}
            for way in ways
        },
    }  # fmt: skip


def picture(result: dict[str, dict[str, dict[str, float]]]) -> str:
    """Two stacked bars: a round on one link, up and down."""
    rows = result["round_bytes_per_link"]
    widest = max(sum(max(0.0, v) for v in row.values()) for row in rows.values())
    scale = 560 / widest
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 250" font-family="sans-serif" '
        'font-size="13"><rect width="760" height="250" fill="#ffffff"/>'
    ]
    for number, (way, row) in enumerate(rows.items()):
        x, y = 90.0, 20 + 50 * number
        total = sum(max(0.0, v) for v in row.values())
        label = {"up": "leaf to hub", "down": "hub to leaf"}[way]
        out.append(f'<text x="5" y="{y + 21}">{label}</text>')
        for layer, colour in zip(LAYERS, COLOURS, strict=True):
            width = max(0.0, row[layer]) * scale
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="32" fill="{colour}"/>')
            if width > 26:
                out.append(f'<text x="{x + 4:.1f}" y="{y + 21}">{row[layer]:.0f}</text>')
            x += width
        out.append(f'<text x="{x + 6:.1f}" y="{y + 21}" font-weight="bold">{total:.0f} B</text>')
    for number, (layer, colour) in enumerate(zip(LAYERS, COLOURS, strict=True)):
        x, y = 20 + 370 * (number % 2), 145 + 26 * (number // 2)
        out.append(f'<rect x="{x}" y="{y}" width="16" height="16" fill="{colour}"/>')
        out.append(f'<text x="{x + 24}" y="{y + 13}">{WORDS[layer]}</text>')
    out.append(
        '<text x="20" y="238" fill="#555555">Bytes of one round on one link of 9.6 kbit/s, 300 ms, 1 % loss '
        "(mean), counted at the emulator</text></svg>"
    )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="an .npz file of MNIST; without it: digits")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--leaves", type=int, default=9)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--codec")
    parser.add_argument("--limit-s", type=float, default=270)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments))
    per: dict[str, dict[str, float]] = result["round_bytes_per_link"]  # type: ignore[assignment]
    print(f"{result['rounds']} rounds of {result['task']}, {arguments.leaves} leaves")
    print(f"set-up {result['setup_s']:.0f} s, a round {result['round_s']:.1f} s, on {machine()}\n")
    print("| layer | up | down |\n|---|---|---|")
    for layer in LAYERS:
        print(f"| {WORDS[layer]} | {per['up'][layer]:.0f} B | {per['down'][layer]:.0f} B |")
    totals = {way: sum(row.values()) for way, row in per.items()}
    print(f"| all on the air | {totals['up']:.0f} B | {totals['down']:.0f} B |")
    payload = sum(row["payload"] for row in per.values())
    print(f"\nwire / payload of a round: {sum(totals.values()) / payload:.2f}")
    job: dict[str, dict[str, float]] = result["job_bytes_per_link"]  # type: ignore[assignment]
    setup: dict[str, dict[str, float]] = result["setup_bytes_per_link"]  # type: ignore[assignment]
    wire, inner = (
        sum(sum(row.values()) for row in job.values()),
        sum(row["payload"] for row in job.values()),
    )
    print(f"the whole job, a link: {wire:.0f} B for {inner:.0f} B payload, {wire / inner:.2f} times")
    print(f"set-up, a link: {sum(sum(row.values()) for row in setup.values()):.0f} B")
    print(f"accuracy {result['accuracy']}")
    write(arguments.json, result)
    if arguments.svg:
        arguments.svg.write_text(picture(result))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
