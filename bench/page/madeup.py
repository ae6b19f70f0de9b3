"""A made-up fleet at work: a state of the page in which time passes. Nothing is trained."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from madeup_rows import STATES, contribution_row, digest, link_row, node_row, plain, round_row
from muster.dashboard.emulated_links import quality
from muster.dashboard.feed import Feed
from muster.node.api.rows.changes import Row, Rows
from muster.node.api.rows.schema import CommitRow, JobRow, MarkRow, StopRow

FIRST = (
    *("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"),
    *("india", "juliett", "kilo", "lima", "mike", "november", "oscar", "papa"),
)
ROUND_S = 6.0


class Fleet:
    """Fills a feed with nodes, links and a long job, and lets things happen to them."""

    def __init__(self, feed: Feed, *, nodes: int, commits: int, seed: int = 0) -> None:
        self.feed, self._rng = feed, Random(seed)
        self.names = [FIRST[i] if i < len(FIRST) else f"node-{i:03d}" for i in range(nodes)]
        self.job = digest("job", seed)
        self._lines: list[str] = []  # heads of the branches
        self._round, self._bytes = 0, 0
        self.pairs = self._network()
        feed.publish(
            {"nodes": {n: node_row(self._rng, i, n, self.job, feed.t()) for i, n in enumerate(self.names)}}
        )
        feed.publish({"links": {f"{a}|{b}": link_row(self._rng, a, b) for a, b in self.pairs}})
        feed.publish({"jobs": {self.job: self._job_row()}})
        root = digest("commit", seed, 0)
        self._lines = [root]
        feed.publish({"commits": {root: self._commit(root, [])}})
        while len(feed.tables["commits"]) < commits:
            self._advance(quiet=True)
        feed.publish({"jobs": {self.job: self._job_row()}, "contributions": self._contributions()})
        self._plan()

    # ---- what there is ------------------------------------------------------------------------------

    def _network(self) -> list[tuple[str, str]]:
        """A ring with chords, in islands of ten: about 1.6 links a node."""
        rng, names = self._rng, self.names
        found = {tuple(sorted((i, (i + 1) % len(names)))) for i in range(len(names)) if len(names) > 1}
        while len(found) < int(1.575 * len(names)) and len(names) > 3:
            a = rng.randrange(len(names))
            b = (a + rng.randint(2, 9)) % len(names)
            if a != b:
                found.add((min(a, b), max(a, b)))
        return [(names[a], names[b]) for a, b in sorted(found)]

    def _accuracy(self) -> float:
        return round(0.97 - 0.87 * math.exp(-self._round / 60) + self._rng.uniform(-0.01, 0.01), 4)

    def _commit(self, key: str, parents: list[str]) -> Row:
        rng, merge = self._rng, len(parents) > 1
        counted = 0 if merge or not parents else max(1, int(len(self.names) * rng.uniform(0.6, 1)))
        accuracy = self._accuracy()
        return plain(
            CommitRow(
                id=key,
                job=self.job,
                parents=parents,
                round=self._round,
                merge=merge,
                coordinator=None
                if merge
                else self.names[0 if key in self._lines[:1] else len(self.names) // 2],
                counted=counted,
                nodes=sorted(rng.sample(self.names, min(counted, 8))),
                stand_ins=[],
                age_s=round(self._round * ROUND_S, 2),
                figures={
                    "accuracy": accuracy,
                    "loss": round(max(0.02, -math.log(max(0.01, accuracy))), 4),
                },
                held=True,
                bytes=0 if merge else rng.randint(4000, 12000),
                model_bytes=None if merge else 19304,
                bytes_total=self._bytes,
                joules=None,
                discarded=0,
                predicted=None,
                drop=None,
            )
        )

    def _job_row(self) -> Row:
        commits = self.feed.tables["commits"]
        head = commits.get(self._lines[0]) if self._lines else None
        return plain(
            JobRow(
                id=self.job,
                task="digits",
                asker=self.names[0],
                adapts_for=None,
                state="running",
                why=f"round {self._round + 1}: waits for updates",
                waits=[],
                round=self._round,
                head=head["id"] if head else "",
                heads=list(self._lines),
                coordinator=self.names[0],
                metrics={"accuracy": "max", "loss": "min"},
                figures=head["figures"] if head else {},
                measured_examples=360,
                began_t=round(self.feed.t() - self._round * ROUND_S, 1),
                age_s=self._round * ROUND_S,
                spent_bytes=self._bytes,
                joules=None,
                budgets=[],
                model_bytes=19304,
                stop=StopRow(10000, None, None, None, None, None, None, None, None),
                recipe={"lr": 0.1, "batch": 32, "steps": 20, "codec": "auto"},
                values=None,
                error=None,
            )
        )

    def _contributions(self) -> Rows:
        rounds, nodes = max(1, self._round), self.feed.tables["nodes"]
        rows = [
            contribution_row(self._rng, self.job, name, nodes[name]["samples"], rounds, len(self.names))
            for name in self.names
        ]
        return {row["id"]: row for row in rows}

    # ---- what happens -------------------------------------------------------------------------------

    def _advance(self, *, quiet: bool = False) -> None:
        """One more commit; now and then a split into two branches, and their merge."""
        self._bytes += self._rng.randint(50_000, 90_000)
        number = len(self.feed.tables["commits"])
        key = digest("commit", self.job, number)
        if len(self._lines) == 2 and number % 9 == 0:
            row = self._commit(key, sorted(self._lines))
            self._lines = [key]
        elif len(self._lines) == 1 and number % 40 == 20:
            row = self._commit(key, [self._lines[0]])
            sibling = digest("commit", self.job, number, "far")
            far = self._commit(sibling, [self._lines[0]])
            self.feed.publish({"commits": {sibling: far}})
            self._lines = [key, sibling]
        else:
            line = number % len(self._lines)
            if line == 0:
                self._round += 1
            row = self._commit(key, [self._lines[line]])
            self._lines[line] = key
        changes: dict[str, dict[str, Row | None]] = {"commits": {key: row}}
        if row["merge"]:
            mark = self.mark("merge", "two histories meet")
            changes["marks"] = {mark["id"]: mark}
        self.feed.publish(changes)
        if not quiet:
            self.feed.publish({"jobs": {self.job: self._job_row()}, "contributions": self._contributions()})
            self.feed.add_line(
                "commit", f"round {self._round}: {row['counted']} updates counted", job=self.job
            )
            self._plan()

    def mark(self, kind: str, text: str, nodes: tuple[str, ...] = ()) -> Row:
        number = len(self.feed.tables["marks"]) + 1
        at_s = self._round * ROUND_S
        return plain(MarkRow(f"m{number}", kind, self.feed.t(), self.job, at_s, list(nodes), text))

    def _plan(self) -> None:
        row = round_row(self.job, self._round + 1, self._lines[0], self.names, self.feed.t(), ROUND_S)
        self.feed.publish({"rounds": {self.job: row}})

    def happen(self, number: int) -> None:
        """Event `number` of the stream: a node or a link changes, or a commit is made."""
        rng = self._rng
        if number % 60 == 0:
            self._advance()
        elif number % 5 == 0:
            self._work()
        elif number % 2:
            name = rng.choice(self.names[1:] or self.names)
            row = {"state": rng.choice(STATES), "progress": round(rng.random(), 2), "heard_t": self.feed.t()}
            if self.feed.tables["nodes"][name]["emulated"]["process"] == "running":
                self.feed.publish({"nodes": {name: row}})
        else:
            self._carry()

    def _work(self) -> None:
        rows = dict(self.feed.tables["rounds"][self.job]["nodes"])
        for name in self._rng.sample(list(rows), min(4, len(rows))):
            old = rows[name]
            progress = round(old["progress"] + 0.34, 2)
            phases = ("wait", "receive", "train", "send", "in")
            phase = phases[min(4, phases.index(old["phase"]) + 1)] if progress > 1 else old["phase"]
            rows[name] = {**old, "phase": phase, "progress": 0.0 if phase != old["phase"] else progress}
        arrived = sum(row["phase"] == "in" for row in rows.values())
        self.feed.publish({"rounds": {self.job: {"nodes": rows, "arrived": arrived}}})

    def _carry(self) -> None:
        rng = self._rng
        changed: dict[str, Row | None] = {}
        for a, b in rng.sample(self.pairs, min(6, len(self.pairs))):
            row = self.feed.tables["links"][f"{a}|{b}"]
            if row["up"]:
                changed[row["id"]] = {
                    side: {**row[side], "bytes": row[side]["bytes"] + moved, "bytes_s": float(moved // 3)}
                    for side in ("there", "back")
                    if (moved := rng.choice((0, rng.randint(500, 60_000)))) or True
                }
        self.feed.publish({"links": changed})

    # ---- what the reader does -----------------------------------------------------------------------

    def set_link(self, link: Row, there: Row, back: Row, **more: Any) -> None:
        """Change parameters of its directions, and other fields of its row."""
        sides = {"there": {**link["there"], **there}, "back": {**link["back"], **back}}
        up = sides["there"]["up"] and sides["back"]["up"]
        row = {**sides, "up": up, "quality": quality(sides["there"], sides["back"]), **more}
        self.feed.publish({"links": {link["id"]: row}})
