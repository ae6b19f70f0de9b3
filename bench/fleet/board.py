"""What one node takes of a small board: memory of each of its processes, disk of a job.

    python bench/fleet/board.py [--task digits] [--rounds 100] [--json FILE]

Two daemons on loopback, of which the first serves the task as well.  Memory is read from /proc every quarter
of a second: what is resident, and of that what no other process shares.  Disk is that of the first node's
home before and after the job.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from muster.network.transport.zenoh.config import free_endpoint
from muster.node.api.client import Client, answers

LOOK_S = 0.25
UP_S = 60.0
KINDS = {
    "muster.cli.main node": "daemon",
    "muster.node.trainer.child": "trainer",
    "muster.serving.main": "server",
}


def memory_mb(home: Path, daemon: int) -> dict[str, tuple[float, float]]:
    """Resident and private MB of the processes of one node, by their kind."""
    found: dict[str, tuple[float, float]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text().replace("\0", " ")
            kind = next((name for words, name in KINDS.items() if words in command), None)
            status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        except (OSError, ValueError):
            continue
        ours = int(process.name) == daemon or int(status["PPid"]) == daemon or str(home) in command
        if kind is not None and ours:
            found[kind] = (_mb(status["VmRSS"]), _mb(status["RssAnon"]))
    return found


def _mb(text: str) -> float:
    return round(int(text.split()[0]) * 1024 / 1e6, 1)


def disk_mb(home: Path) -> dict[str, float]:
    """MB on disk, in blocks: of the store and of the blobs."""

    def used(paths: list[Path]) -> float:
        return round(sum(path.stat().st_blocks * 512 for path in paths if path.is_file()) / 1e6, 2)

    return {"store": used(list(home.glob("store.sqlite*"))), "blobs": used(list((home / "blobs").rglob("*")))}


def measure(task: str, rounds: int, folder: Path) -> dict[str, object]:
    ports = [free_endpoint("127.0.0.1").port for _ in range(2)]
    env = {**os.environ, "XDG_DATA_HOME": str(folder)}
    daemons = []
    for number, name in enumerate(("alpha", "bravo")):
        serve = f"[tasks.{task}.serve]\n" if number == 0 else ""
        (folder / f"{name}.toml").write_text(
            f'name = "{name}"\nhome = "{folder / name}"\nlisten = ["127.0.0.1:{ports[number]}"]\n'
            f'connect = ["127.0.0.1:{ports[1 - number]}"]\ndiscovery = false\n[tasks.{task}]\n{serve}'
        )
        words = [sys.executable, "-m", "muster.cli.main", "node", "--config", str(folder / f"{name}.toml")]
        with (folder / f"{name}.log").open("w") as log:
            daemons.append(subprocess.Popen(words, env=env, stdout=log, stderr=log))
    home = folder / "alpha"
    try:
        until_s = time.monotonic() + UP_S
        while not (answers(home) and answers(folder / "bravo") and Client(home).snapshot().neighbours):
            assert time.monotonic() < until_s, (folder / "alpha.log").read_text()
            time.sleep(0.5)
        time.sleep(5)
        idle, before = memory_mb(home, daemons[0].pid), disk_mb(home)
        most: dict[str, tuple[float, float]] = {}
        client = Client(home)
        job = client.train(task, rounds=rounds)
        while client.log(job).job.state == "running":
            for kind, seen in memory_mb(home, daemons[0].pid).items():
                most[kind] = max(most.get(kind, (0.0, 0.0)), seen)
            time.sleep(LOOK_S)
        after = disk_mb(home)
    finally:
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)
    return {
        "task": task,
        "rounds": rounds,
        "idle_resident_private_mb": idle,
        "most_resident_private_mb": most,
        "disk_before_mb": before,
        "disk_after_mb": after,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", default="digits")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="board-") as folder:
        found = measure(given.task, given.rounds, Path(folder))
    for name, value in found.items():
        print(f"{name:28}{value}")
    if given.json:
        given.json.write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
