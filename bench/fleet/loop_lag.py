"""How long a daemon's event loop is blocked while models of 0.1, 10 and 100 MB are trained, and its memory.

    python bench/fleet/loop_lag.py [--sizes 0.1 10 100] [--rounds 3] [--state FILE] [--json FILE]

Three daemons on loopback train a made-up MLP of that size with little data, with codec dense32 and auto,
once on a quiet machine and once beside as many busy processes as cores, at the same priority.  Each daemon
asks to be woken every 10 ms and notes how late it was (loop_lag_node.py), from the job's start to its end.
Targets: 99.9 % of all under 50 ms, the worst under 250 ms; no neighbour is lost (`lost`), no round planned
again (`replans`).  A `control` beside them is a process whose loop does nothing but wait for such probes: it
shows how late this machine wakes anybody at that time.  `own` is memory without mapped files, `peak` all that
was resident at once, both beyond what the daemon had before the job; `worker` is the own memory of the
process that works on large models.  All are the largest of the three.  A run that is in FILE of --state is
not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.api.client import Client
from small_fleet import machine, write

NAMES = ("alpha", "bravo", "charlie")
LIMIT_S = 600.0
IDLE_S = 1.0  # before the job, in which the memory of an idle daemon is measured
NODE = Path(__file__).with_name("loop_lag_node.py")
TASK = '''
import torch
from torch import nn
from muster import Task


class Big(Task):
    """A made-up MLP of `mb` megabytes; what it learns does not matter."""

    name = "big"
    options = {"mb": 1.0}

    def model(self):
        mb = float(self.options["mb"])
        depth = 2 if mb < 1 else 5
        width = max(8, int((mb * 1e6 / 4 / depth) ** 0.5))
        layers = [nn.Linear(32, width), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 4))

    def training_data(self):
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(96, 32, generator=generator)
        return self.mine(x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long())
'''


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses for UDP now."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)
        ]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that do nothing but compute."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


@contextlib.contextmanager
def daemons(folder: Path, mb: float) -> Iterator[list[Client]]:
    """Three nodes that know each other; ended when the block ends, so that their figures are written."""
    init_fleet(folder / "fleet", "bench")
    (folder / "big.py").write_text(TASK, "utf-8")
    ports, children, logs = free_ports(len(NAMES)), [], []
    try:
        children.append(
            subprocess.Popen([sys.executable, str(NODE), "--control", str(folder / "control.json")])
        )
        for number, name in enumerate(NAMES):
            home = folder / name
            home.mkdir()
            others = [f"127.0.0.1:{port}" for at, port in enumerate(ports) if at != number]
            options = {"file": str(folder / "big.py"), "mb": mb, "part": number, "parts": len(NAMES)}
            config = {
                "name": name, "home": str(home), "bundle": str(issue(folder / "fleet", name, home / "b.pem")),
                "listen": [f"127.0.0.1:{ports[number]}"], "connect": others, "discovery": False,
                "profile": "lan", "policy": {"disk_limit_mb": 8000}, "tasks": {"big": options},
            }  # fmt: skip
            (home / "node.toml").write_text(tomli_w.dumps(config), "utf-8")
            logs.append((home / "output.log").open("wb"))
            children.append(
                subprocess.Popen(
                    [sys.executable, str(NODE), "node", "--config", str(home / "node.toml")],
                    env=os.environ | {"MUSTER_LOOP_LAG": str(home / "lag.json")},
                    stdout=logs[-1], stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        clients = [Client(folder / name) for name in NAMES]
        until(lambda: all(len(c.snapshot().neighbours) == len(NAMES) - 1 for c in clients), 60.0)
        yield clients
    finally:
        for child in children:
            child.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(30.0)
            child.kill()
        for log in logs:
            log.close()


def until(done: Any, limit_s: float) -> None:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        with contextlib.suppress(MusterError):
            if done():
                return
        time.sleep(0.25)
    raise TimeoutError(f"not within {limit_s:g} s")


def run(mb: float, codec: str, loaded: bool, rounds: int, show: bool) -> dict[str, Any]:
    """The figures of one job."""
    with tempfile.TemporaryDirectory(prefix="muster-lag-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with busy((os.cpu_count() or 1) if loaded else 0), daemons(folder, mb) as clients:
            clients[0].timeout_s = 120.0
            time.sleep(IDLE_S)
            began_s = time.monotonic()
            job = clients[0].train("big", rounds=rounds, min_nodes=3, steps=4, batch=8, codec=codec)
            ended = True
            try:
                until(lambda: clients[0].log(job).job.state != "running", LIMIT_S)
            except TimeoutError:
                ended = False
            ended_s = time.monotonic()
            log = clients[0].log(job)
            said = "".join((folder / n / "output.log").read_text("utf-8", "replace") for n in NAMES)
        return figures(folder, said, began_s, ended_s, show) | {
            "mb": mb, "codec": codec, "loaded": loaded, "rounds": max(c.round for c in log.commits),
            "ended": ended, "took_s": round(ended_s - began_s, 1),
        }  # fmt: skip


def figures(folder: Path, text: str, began_s: float, ended_s: float, show: bool) -> dict[str, Any]:
    """What the three nodes measured and said (`text`) while the job ran."""
    lags: list[float] = []
    own_mb = peak_mb = worker_mb = idle_mb = 0.0
    stuck: Counter[str] = Counter()
    for name in NAMES:
        said = json.loads((folder / name / "lag.json").read_text())
        lags += [ms for s, ms in said["lags"] if began_s <= s <= ended_s + 1]
        idle = [row for row in said["memory"] if row[0] < began_s][-1]
        job = [row for row in said["memory"] if row[0] >= began_s]
        own_mb = max(own_mb, *(row[1] - idle[1] for row in job))
        peak_mb = max(peak_mb, *(row[2] - idle[2] for row in job))
        worker_mb, idle_mb = max(worker_mb, *(row[3] for row in job)), max(idle_mb, idle[2])
        stuck.update(dict(said["stuck"]))
    if show:
        for where, times in stuck.most_common(40):
            print(f"  {times:4} {where}")
    lags.sort()
    control = json.loads((folder / "control.json").read_text())["lags"]
    alone = sorted(ms for s, ms in control if began_s <= s <= ended_s + 1)
    return {
        "control_under_50_percent": round(100 * sum(ms < 50 for ms in alone) / len(alone), 3),
        "control_worst_ms": round(alone[-1], 1),
        "load": round(os.getloadavg()[0], 1),
        "idle_mb": round(idle_mb),
        "worker_mb": round(worker_mb),
        "probes": len(lags),
        "under_50_percent": round(100 * sum(ms < 50 for ms in lags) / len(lags), 3),
        "p999_ms": round(lags[int(0.999 * (len(lags) - 1))], 1),
        "worst_ms": round(lags[-1], 1),
        "over_50_s": round(sum(ms for ms in lags if ms >= 50) / 1000, 2),
        "own_mb": round(own_mb),
        "peak_mb": round(peak_mb),
        "lost": len(re.findall(r"out of reach", text)),
        "replans": len(re.findall(r"others are gone", text)),
        "errors": len(re.findall(r"fault|Traceback|failed", text)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.1, 10.0, 100.0])
    parser.add_argument("--codecs", nargs="+", default=["dense32", "auto"])
    parser.add_argument("--loads", nargs="+", choices=("quiet", "loaded"), default=["quiet", "loaded"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stuck", action="store_true", help="show where the loops were stuck")
    parser.add_argument("--state", type=Path, help="what was measured before, and where to put what is new")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    done = json.loads(given.state.read_text()) if given.state and given.state.exists() else []
    print(f"Loop lag with three daemons, {given.rounds} rounds, on {machine()}\n")
    print(
        "| MB | codec | machine | load | under 50 ms | 99.9 % | worst | control: under 50 ms | worst ", end=""
    )
    print("| own | peak | worker | lost | replans | rounds | took |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for mb in given.sizes:
        for codec in given.codecs:
            for load in given.loads:
                key = {"mb": mb, "codec": codec, "loaded": load == "loaded"}
                row = next((r for r in done if key.items() <= r.items()), None)
                if row is None:
                    row = run(mb, codec, load == "loaded", given.rounds, given.stuck)
                    done.append(row)
                    write(given.state, done)
                print(
                    f"| {mb:g} | {codec} | {load} | {row['load']} "
                    f"| {row['under_50_percent']:.2f} % | {row['p999_ms']:.0f} ms | "
                    f"{row['worst_ms']:.0f} ms | {row['control_under_50_percent']:.2f} % | "
                    f"{row['control_worst_ms']:.0f} ms | {row['own_mb']} MB | {row['peak_mb']} MB | "
                    f"{row['worker_mb']} MB | {row['lost']} | "
                    f"{row['replans']} | {row['rounds']} | {row['took_s']:.0f} s |",
                    flush=True,
                )
    write(given.json, {"machine": machine(), "rows": done})


if __name__ == "__main__":
    main()
