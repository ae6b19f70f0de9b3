"""Rows of a made-up fleet: nodes and links drawn from a seed."""

from __future__ import annotations

import hashlib
from random import Random

from muster.dashboard.rows import quality
from muster.node.api.rows.changes import Row

STATES = ("receiving", "training", "sending", "idle")


def digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def node_row(rng: Random, number: int, name: str, job: str, now_t: float) -> Row:
    """One that was heard lately; the first one is the viewing node."""
    samples, step_s = rng.randint(50, 400), round(rng.uniform(0.005, 0.08), 4)
    return {
        "id": name,
        "name": name,
        "key": digest("node", name),
        "me": number == 0,
        "state": rng.choice(STATES),
        "progress": round(rng.random(), 2),
        "heard_t": None if number == 0 else now_t - rng.random() * 3,
        "reachable": True,
        "battery": None if rng.random() < 0.3 else round(rng.uniform(0.1, 1), 2),
        "step_s": step_s,
        "samples": samples,
        "job": job,
        "round": 1,
        "offer": {"samples": samples, "step_s": step_s, "battery": None, "available_s": None},
        "refusal": None,
        "plan": None,
        "resources": None,
        "tasks": [],
        "emulated": {
            "address": f"10.77.{number // 250}.{number % 250 + 1}",
            "process": "running",
            "away": False,
            "slowdown": 1.0,
        },
    }


def link_row(rng: Random, a: str, b: str) -> Row:
    """An emulated link that is up."""
    rate = rng.choice((64.0, 256.0, 1000.0, 5000.0, 20000.0))
    ways = [
        {
            "up": True,
            "rate_kbit_s": rate,
            "delay_ms": float(rng.randint(5, 300)),
            "jitter_ms": 2.0,
            "loss": round(rng.random() * 0.05, 3),
            "burst": False,
            "bytes": 0,
            "bytes_s": 0.0,
            "lost_frames": 0,
        }
        for _ in range(2)
    ]
    return {
        "id": f"{a}|{b}",
        "a": a,
        "b": b,
        "emulated": True,
        "up": True,
        "quality": quality(*ways),
        "rtt_s": None,
        "goodput_bytes_s": None,
        "up_t": 0.0,
        "preset": None,
        "drop": None,
        "there": ways[0],
        "back": ways[1],
    }
