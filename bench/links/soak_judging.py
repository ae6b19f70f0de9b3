"""What the logs of a soak say: when links were bad, and how long a neighbour stayed away beyond that."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from muster.emulation.radio.model import LinkParams

ZOMBIE_S = 30.0


@dataclass(frozen=True)
class Run:
    """One small network. `nodes` names; every pair is linked; the earlier node of a pair listens."""

    kind: str
    seed: int
    nodes: tuple[str, ...]
    link: LinkParams
    profile: str = "lan"

    def pairs(self) -> list[tuple[str, str]]:
        return [(a, b) for i, a in enumerate(self.nodes) for b in self.nodes[i + 1 :]]


@dataclass
class Spells:
    """When the link was bad: loop times (the monotonic clock, which all processes share)."""

    bad: list[tuple[float, float]] = field(default_factory=list)

    def joined(self) -> Spells:
        """In order, those that overlap made one."""
        joined: list[tuple[float, float]] = []
        for begin, end in sorted(self.bad):
            if joined and begin <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        return Spells(joined)

    def overlap_s(self, since: float, until: float) -> float:
        """Seconds of [since, until] in bad spells; these must be `joined`."""
        first = max(0, bisect.bisect(self.bad, (since, since)) - 1)
        last = bisect.bisect(self.bad, (until, until))
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.bad[first:last])

    def longest_good_s(self, since: float, until: float) -> float:
        """The longest time in [since, until] without a bad spell; these must be `joined`."""
        longest = 0.0
        for begin, end in self.bad[max(0, bisect.bisect(self.bad, (since, since)) - 1) :]:
            if since >= until or begin >= until:
                break
            longest, since = max(longest, begin - since), max(since, end)
        return max(longest, until - since)


@dataclass(frozen=True)
class Outcome:
    kind: str
    seed: int
    nodes: int
    asked: int
    answered: int
    answer_ms: float  # median
    longest_s: float  # between two answers
    beyond_s: float  # the same, less the bad spells in it
    stretch_s: float  # the longest good time in one piece without an answer
    zombies: int
    reopened: int
    renewed: int
    lost: int
    bad_s: float  # of the run
    problems: list[str]
    resident_kb: int
    bytes_min: float  # each way on a link, mean


def judge(
    run: Run,
    logs: dict[str, list[dict[str, object]]],
    spells: Spells,
    began: float,
    ended: float,
    bytes_min: float,
) -> Outcome:
    """What the nodes' logs say about one run, from loop time `began` to `ended`."""
    asked = answered = zombies = reopened = renewed = resident = lost = 0
    longest = beyond = stretch = 0.0
    times: list[float] = []
    problems: list[str] = []
    for name, entries in logs.items():
        tries: dict[str, list[dict[str, object]]] = {}
        most, most_renewed = 0, 0
        for entry in entries:
            if "peer" in entry:
                tries.setdefault(str(entry["peer"]), []).append(entry)
                most = max(most, int(str(entry["reopened"])))
                most_renewed = max(most_renewed, int(str(entry["renewed"])))
            lost += int("change" in entry and not entry["up"])
            problems += [str(entry["problem"])] if "problem" in entry else []
            resident = max(resident, int(str(entry.get("resident_kb", 0))))
        reopened, renewed = reopened + most, renewed + most_renewed
        if run.kind != "idle" and len(tries) < len(run.nodes) - 1:
            problems.append(f"{name} never met all of its neighbours")
            beyond = max(beyond, ended - began - spells.overlap_s(began, ended))
            stretch = max(stretch, spells.longest_good_s(began, ended))
        for attempts in tries.values():
            attempts = [one for one in attempts if _t(one) <= ended]
            last, up_since, dead = began, began, False
            for attempt in attempts:
                now = _t(attempt)
                if attempt["up"]:
                    asked += 1
                else:
                    up_since = now
                if attempt["ok"]:
                    answered += 1
                    if not attempt["bulk"]:
                        times.append(now - float(str(attempt["began"])))
                    up_since, dead = now, False
                good_s = now - up_since - spells.overlap_s(up_since, now)
                if good_s > ZOMBIE_S and not dead:
                    zombies, dead = zombies + 1, True
                longest = max(longest, now - last)
                beyond = max(beyond, now - last - spells.overlap_s(last, now))
                stretch = max(stretch, spells.longest_good_s(last, now))
                last = now if attempt["ok"] else last
            beyond = max(beyond, ended - last - spells.overlap_s(last, ended))
            stretch = max(stretch, spells.longest_good_s(last, ended))
    return Outcome(
        run.kind,
        run.seed,
        len(run.nodes),
        asked,
        answered,
        round(1000 * statistics.median(times), 1) if times else 0.0,
        round(longest, 1),
        round(beyond, 1),
        round(stretch, 1),
        zombies,
        reopened,
        renewed,
        lost,
        round(spells.overlap_s(began, ended), 1),
        sorted(set(problems)),
        resident,
        round(bytes_min),
    )


def _t(entry: dict[str, object]) -> float:
    return float(str(entry["t"]))


HEADINGS = (
    "run", "asked", "answered", "median ms", "bad s", "longest s", "beyond s", "stretch s", "zombies",
    "reopened", "renewed", "lost", "bytes/min",
)  # fmt: skip


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown."""
    rows = [
        (
            f"{one.kind} {one.seed}", one.asked, one.answered, round(one.answer_ms), round(one.bad_s),
            one.longest_s, one.beyond_s, one.stretch_s, one.zombies, one.reopened, one.renewed, one.lost,
            one.bytes_min,
        )
        for one in outcomes
    ]  # fmt: skip
    lines = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)], *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
