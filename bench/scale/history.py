"""A history of many rounds in one process: the memory and the time that a follower of the job needs.

Run: python bench/scale/history.py [--nodes 1000] [--in-round 300] [--rounds 10000] [--out FILE]

Each round a part of the nodes gives an update each; commits are made as coordinators make them, with places,
costs and digests, and go into one graph.  Memory is the process's, less what it had before.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

from muster.history.graph import Graph
from muster.protocol.envelope import encode, id_of
from muster.protocol.parts import Cost, Folded, Payload, Steering
from muster.protocol.records import Commit

JOB = b"j" * 32


def rss_bytes() -> int:
    fields = Path("/proc/self/statm").read_text("ascii").split()
    return int(fields[1]) * 4096


class Job:
    """A history that grows by a round at a time."""

    def __init__(self, nodes: int, in_round: int) -> None:
        self.rng, self.in_round = random.Random(7), in_round
        self.ids = [self.rng.randbytes(32) for _ in range(nodes)]
        self.lives = {n: self.rng.getrandbits(31) for n in self.ids}
        self.sequences = dict.fromkeys(self.ids, 0)
        self.graph = Graph()
        root = Commit(JOB, (), 0, (), tuple(self.ids[:1]), (), 0.0, bytes(32), 24_000)
        self.head = id_of(self.ids[0], root)
        self.graph.add(self.head, self.ids[0], root)

    def round(self) -> tuple[int, float]:
        """Add one; the bytes of its commit, and the seconds that a follower needs to take it in."""
        rng, before = self.rng, self.graph.points[self.head]
        nodes = sorted(rng.sample(self.ids, self.in_round))
        folded, costs = [], []
        for node in nodes:
            self.sequences[node] += 1
            steps = rng.randint(10, 30)
            folded.append(
                Folded(node, self.lives[node], self.sequences[node], steps, 32 * steps, 0, rng.random())
            )
            costs.append(Cost(rng.randint(900, 9000), rng.randint(500, 5000), 12_000, "stc:0.02", 30))
        known = set(before.roster)
        record = Commit(
            JOB, (self.head,), before.round + 1, tuple(folded), tuple(n for n in nodes if n not in known), (),
            before.age_s + 4.0, rng.randbytes(32), 24_000, Payload("stc:0.02", 900, blob=rng.randbytes(32)),
            0.5, (), tuple(costs), (), Steering(20, loss=rng.random()),
        )  # fmt: skip
        record = self.graph.completed(record, self.ids[0])
        self.head = id_of(self.ids[0], record)
        began_s = time.process_time()
        self.graph.add(self.head, self.ids[0], record)
        return len(encode(record)), time.process_time() - began_s


def measured(nodes: int, in_round: int, rounds: int) -> dict[str, Any]:
    before, job = rss_bytes(), Job(nodes, in_round)
    sizes, spent_s, steps = [], 0.0, []
    for number in range(rounds):
        size, took_s = job.round()
        sizes.append(size)
        spent_s += took_s
        if number + 1 in (rounds // 4, rounds // 2, rounds):
            steps.append((number + 1, round((rss_bytes() - before) / 1e6, 1)))
    assert not job.graph.refused
    old = list(job.graph.points.values())[rounds // 3]
    began_s = time.process_time()
    assert old.spent
    return {
        "nodes": nodes, "in_round": in_round, "rounds": rounds, "memory_mb": steps,
        "commit_bytes": sum(sizes) // len(sizes), "take_in_ms": round(1000 * spent_s / rounds, 2),
        "old_state_ms": round(1000 * (time.process_time() - began_s), 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--in-round", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measured(options.nodes, options.in_round, options.rounds)
    print(json.dumps(found))
    if options.out is not None:
        options.out.write_text(json.dumps(found) + "\n", "utf-8")


if __name__ == "__main__":
    main()
