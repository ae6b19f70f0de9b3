"""Rows of a made-up fleet, drawn from a seed."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import msgspec

from muster.dashboard.emulated_links import quality
from muster.node.api.rows.changes import Row
from muster.node.api.rows.schema import (
    ContributionRow,
    EmulatedRow,
    FieldRow,
    LinkDirection,
    LinkRow,
    NodeRow,
    OfferRow,
    RoundPart,
    RoundRow,
    ServerRow,
)

STATES = ("receiving", "training", "sending", "idle")


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def plain(row: Any) -> Row:
    """A struct as the feed keeps it."""
    built: Row = msgspec.to_builtins(row)
    return built


def node_row(rng: Random, number: int, name: str, job: str, now_t: float) -> Row:
    """One that was heard lately; the first one is the viewing node."""
    samples, step_s = rng.randint(50, 400), round(rng.uniform(0.005, 0.08), 4)
    return plain(
        NodeRow(
            id=name,
            name=name,
            key=digest("node", name),
            me=number == 0,
            state=rng.choice(STATES),
            progress=round(rng.random(), 2),
            heard_t=None if number == 0 else now_t - rng.random() * 3,
            reachable=True,
            battery=None if rng.random() < 0.3 else round(rng.uniform(0.1, 1), 2),
            power=None,
            step_s=step_s,
            samples=samples,
            job=job,
            round=1,
            offer=OfferRow(samples, step_s, None, None),
            refusal=None,
            plan=None,
            resources=None,
            tasks=[],
            health=None,
            refused=0,
            cut_off=False,
            shared=[],
            left=None,
            emulated=EmulatedRow(
                f"10.77.{number // 250}.{number % 250 + 1}", "running", away=False, slowdown=1.0, says=None
            ),
        )
    )


def link_row(rng: Random, a: str, b: str) -> Row:
    """An emulated link that is up."""
    rate = rng.choice((64.0, 256.0, 1000.0, 5000.0, 20000.0))
    there, back = (
        LinkDirection(
            up=True,
            rate_kbit_s=rate,
            delay_ms=float(rng.randint(5, 300)),
            jitter_ms=2.0,
            loss=round(rng.random() * 0.05, 3),
            burst=False,
            bytes=0,
            bytes_s=0.0,
            lost_frames=0,
        )
        for _ in range(2)
    )
    return plain(
        LinkRow(
            id=f"{a}|{b}",
            a=a,
            b=b,
            emulated=True,
            up=True,
            quality=quality(plain(there), plain(back)),
            rtt_s=None,
            goodput_bytes_s=None,
            up_t=0.0,
            preset=None,
            drop=None,
            there=there,
            back=back,
        )
    )


def contribution_row(rng: Random, job: str, name: str, samples: int, rounds: int, nodes: int) -> Row:
    """Of one of `nodes` nodes after so many rounds."""
    counted, late = int(rounds * rng.uniform(0.5, 1)), rng.randint(0, 9)
    return plain(
        ContributionRow(
            id=f"{job}/{name}",
            job=job,
            node=name,
            samples=samples,
            steps=counted * 20,
            examples=counted * 640,
            counted=counted,
            stood_in=0,
            waiting=0,
            late=min(late, counted),
            refused=late // 5,
            reasons={"not finite": late // 5} if late >= 5 else {},
            share=round(1 / nodes, 4),
            sent_bytes=counted * 9000,
            received_bytes=rounds * 8000,
            joules=None,
            value=round(rng.uniform(-0.01, 0.05), 4),
            value_share=round(rng.uniform(-0.1, 0.5), 4),
        )
    )


def round_row(job: str, number: int, parent: str, names: list[str], now_t: float, span_s: float) -> Row:
    """A round that has just begun, with the first 24 nodes in it."""
    part = RoundPart("wait", 0.0, 20, "topk:0.05", now_t + span_s)
    return plain(
        RoundRow(
            job=job,
            round=number,
            parent=parent,
            coordinator=names[0],
            begun_t=now_t,
            deadline_t=now_t + 2 * span_s,
            expected_t=now_t + span_s,
            arrived=0,
            why=f"{len(names)} nodes, {span_s:g} s expected",
            nodes=dict.fromkeys(names[:24], part),
            stand_ins={},
        )
    )


def field_row(rng: Random, number: int, name: str, commit: str, now_t: float) -> Row:
    """A model in use: the first nodes took a new one, the next one fails, the others have the first."""
    fails, adopted = number == 2, number < 2
    labels = rng.randint(40, 90)
    right = round(labels * (0.31 if fails else rng.uniform(0.84, 0.97)))
    server = ServerRow(
        f"http://127.0.0.1:{7460 + number}/", rng.randint(900, 4000), 0, 0, 20.0, 4.1, 84, 960, ""
    )
    return plain(
        FieldRow(
            node=name,
            task="digits",
            version=commit[:8] if adopted else "first-7c398cb3",
            commit=commit if adopted else None,
            reason="adopted" if adopted else "first",
            since_t=now_t - rng.uniform(20, 400),
            former="first-7c398cb3" if adopted else None,
            live_labels=labels,
            live_right=right,
            held_labels=70 if adopted else 0,
            wins=41 if adopted else 0,
            losses=2 if adopted else 0,
            epoch=1 if number < 3 else 0,
            labels=labels if number < 3 else None,
            labels_wanted=12 if fails else 0,
            need="open" if fails else "met" if adopted else "",
            alike=[],
            waits="the answers are less certain: 12 more labels would say whether the model fails"
            if fails
            else "",
            job=None,
            server=server,
        )
    )
