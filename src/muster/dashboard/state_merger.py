"""Two views made one: what a node says of its fleet, and what the emulator knows of the network beneath it.

The node's word stands, and grows old; the emulator adds what no node can know of another (its radio is off,
its process was killed, what a link carries) and puts it in the log and among the marks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from muster.dashboard.feed import TABLES, Feed
from muster.dashboard.rows import brief, quality
from muster.node.api.rows.changes import Row, Rows

MARKS_MAX = 500
RATE_WINDOW_S = 3.0
SAME_LINE_S = 0.05
NODE_TABLES = ("links", "jobs", "rounds", "commits", "contributions")
PARAMETERS = ("rate_kbit_s", "delay_ms", "jitter_ms", "loss")
STATE_WORDS = {
    "gone": ("kill", "the process of {} has ended"),
    "paused": ("pause", "{} stands still"),
    "away": ("leave", "{} switches its radio off"),
}

Pair = tuple[str, str]


def shifted(value: Any, by_s: float) -> Any:
    """A copy with every instant (`..._t`, and `t`) moved.

    >>> shifted({"heard_t": 5.0, "offer": {"t": 1.0}, "n": 1}, -4.5)
    {'heard_t': 0.5, 'offer': {'t': -3.5}, 'n': 1}
    """
    if isinstance(value, dict):
        return {
            k: round(v + by_s, 2)
            if isinstance(v, float | int) and (k.endswith("_t") or k == "t")
            else shifted(v, by_s)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [shifted(v, by_s) for v in value]
    return value


class StateMerger:
    """Takes both in and keeps the feed up to date."""

    def __init__(self, feed: Feed, *, emulated: bool) -> None:
        self.feed, self._emulated = feed, emulated
        self._nodes: dict[str, Row] = {}  # by the node's word
        self._own_links: dict[str, Row] = {}
        self._conditions: dict[str, Row] = {}  # by the emulator's
        self._selves: dict[str, Row] = {}  # what emulated nodes say of themselves
        self._links: dict[Pair, Row] = {}
        self._counts: deque[tuple[float, dict[Pair, int]]] = deque()
        self._ran: set[str] = set()
        self._marks = 0
        self._line_t = float("-inf")
        self._shift_s = 0.0

    # ---- the node's word ----------------------------------------------------------------------------

    def see(self, event: Row, *, first: bool) -> None:
        """A piece of the node's view; the `first` of a connection is the whole of it."""
        feed = self.feed
        if first:
            self._shift_s = feed.t() - event["now_s"]
        feed.fresh_t = round(event["now_s"] + self._shift_s, 3)
        head = event["head"]
        feed.describe({k: head[k] for k in ("view", "version", "tasks", "job")})
        moved = {t: shifted(event[t], self._shift_s) for t in (*TABLES, "log") if t in event}
        if first:
            self._forget(moved)
        _absorb(self._nodes, nodes := moved.get("nodes", {}))
        links = moved.get("links", {})
        if self._emulated:
            _absorb(self._own_links, links)
            links = {
                key: row
                for own in links
                if (key := self._link_id(own)) is not None and (row := self._measured(own)) is not None
            }
        changes: dict[str, Rows] = {t: moved[t] for t in NODE_TABLES if t in moved and t != "links"}
        feed.publish({**changes, "links": links, "nodes": {key: self._node(key) for key in nodes}})
        for mark in moved.get("marks", {}).values():
            self.mark(mark["kind"], mark["text"], mark["nodes"], t=mark["t"], job=mark["job"], key=mark["id"])
        for line in moved.get("log", ()):
            if line["t"] > self._line_t + SAME_LINE_S or not first:  # a new connection tells all again
                self._line_t = max(self._line_t, line["t"])
                feed.say(line["kind"], line["text"], t=line["t"], node=line["node"], job=line["job"])

    def _forget(self, moved: Mapping[str, Any]) -> None:
        """Rows that the node does not know any more, or another node does not know."""
        gone = [key for key in self._nodes if key not in moved.get("nodes", {})]
        for key in gone:
            del self._nodes[key]
        self._own_links = {}
        self.feed.publish({"nodes": {key: self._node(key) for key in gone}})
        for table in NODE_TABLES if not self._emulated else NODE_TABLES[1:]:
            known, found = self.feed.tables[table], moved.get(table, {})
            self.feed.publish({table: {key: None for key in list(known) if key not in found}})

    def _node(self, key: str) -> Row | None:
        row, condition = self._nodes.get(key), self._conditions.get(key)
        if condition is None:
            return row
        row = row or _unheard(key)
        said = self._selves.get(key)
        process = _process(condition, ran=key in self._ran)
        state = row["state"]
        if process in ("starting", "paused", "ended"):
            state = "gone" if process == "ended" else process
        elif condition["away"]:
            state = "away"
        emulated = {
            "address": condition["address"],
            "process": process,
            "away": condition["away"],
            "slowdown": condition["slowdown"],
            "says": {"state": said["state"], "progress": round(said["progress"], 2)} if said else None,
        }
        more = {"resources": said["resources"], "tasks": said["tasks"]} if said and not row["me"] else {}
        return {**row, **more, "state": state, "emulated": emulated}

    def said(self, key: str, word: Row | None) -> None:
        """What an emulated node says of itself, or None when it does not answer."""
        if word is None:
            self._selves.pop(key, None)
        else:
            # All clocks of one machine are one clock, the feed's too.
            self._selves[key] = shifted(word, self.feed.at(0.0))
        self.feed.publish({"nodes": {key: self._node(key)}})

    # ---- the emulator's -----------------------------------------------------------------------------

    def conditions(self, nodes: list[Row]) -> None:
        """How every emulated node is."""
        first = not self._conditions
        words = {}
        for condition in nodes:
            key = condition["name"]
            before = self._state_word(key) if not first else None
            self._conditions[key] = condition
            if condition["running"]:
                self._ran.add(key)
            words[key] = (before, self._state_word(key))
        self.feed.publish({"nodes": {key: self._node(key) for key in self._conditions}})
        for key, (before, after) in words.items():
            if not first and before != after:
                self._tell(key, before, after)

    def _state_word(self, key: str) -> str:
        condition = self._conditions.get(key)
        if condition is None:
            return "starting"
        process = _process(condition, ran=key in self._ran)
        if process != "running":
            return "gone" if process == "ended" else process
        return "away" if condition["away"] else "running"

    def _tell(self, key: str, before: str | None, after: str) -> None:
        if after in STATE_WORDS:
            kind, words = STATE_WORDS[after]
        elif before == "starting" or after == "starting":
            return
        else:
            kind, words = {
                "gone": ("restart", "{} is started again"),
                "paused": ("resume", "{} goes on"),
                "away": ("join", "{} has its radio on again"),
            }.get(before or "", ("join", "{} is back"))
        self.mark(kind, words.format(key), [key])
        self.feed.say("fault", words.format(key), node=key)

    def links(self, found: list[Row], extra: Callable[[Pair], Row]) -> None:
        """Parameters and counters of every direction; `extra`: preset and drop of a link."""
        now_t = self.feed.t()
        ways = {(way["a"], way["b"]): way for way in found}
        self._counts.append((now_t, {pair: way["count"]["bytes"] for pair, way in ways.items()}))
        while len(self._counts) > 2 and now_t - self._counts[0][0] > RATE_WINDOW_S:
            self._counts.popleft()
        first = not self._links
        rows: Rows = {}
        turned: list[tuple[Pair, bool]] = []
        for pair in ways:
            a, b = pair
            if (b, a) not in ways or (b, a) in self._links:
                continue
            there, back = self._way(ways[a, b]), self._way(ways[b, a])
            old = self._links.get(pair)
            up = there["up"] and back["up"]
            row = {
                "id": f"{a}|{b}",
                "a": a,
                "b": b,
                "emulated": True,
                "up": up,
                "quality": quality(there, back),
                "up_t": old["up_t"] if old and old["up"] and up else now_t,
                "there": there,
                "back": back,
                **extra(pair),
            }
            if old is None:
                unknown = {"rtt_s": None, "goodput_bytes_s": None}
                row |= self._measured(f"{a}|{b}") or self._measured(f"{b}|{a}") or unknown
            elif old["up"] != up:
                turned.append((pair, up))
            elif any(old[w][p] != row[w][p] for w in ("there", "back") for p in PARAMETERS):
                self.mark("link", f"the link {a} - {b} is changed", [a, b])
            self._links[pair] = row
            rows[row["id"]] = row
        self.feed.publish({"links": rows})
        if not first:
            self._tell_links(turned)

    def _way(self, way: Row) -> Row:
        params, count = way["params"], way["count"]
        from_t, old = self._counts[0]
        now_t, new = self._counts[-1]
        pair = (way["a"], way["b"])
        moved = new[pair] - old.get(pair, 0)
        return {
            "up": params["up"],
            **{name: params[name] for name in PARAMETERS},
            "burst": params.get("burst") is not None,
            "bytes": count["bytes"],
            "bytes_s": brief(max(0, moved) / max(now_t - from_t, 0.2)) if len(self._counts) > 1 else 0.0,
            "lost_frames": count["dropped_loss"] + count["dropped_queue"] + count["dropped_down"],
        }

    def _tell_links(self, turned: list[tuple[Pair, bool]]) -> None:
        for up, kind, words in ((False, "cut", "is cut"), (True, "heal", "is back")):
            pairs = [pair for pair, now_up in turned if now_up is up]
            if not pairs:
                continue
            names = sorted({name for pair in pairs for name in pair})
            if len(pairs) == 1:
                text = f"the link {pairs[0][0]} - {pairs[0][1]} {words}"
            else:
                text = f"{len(pairs)} links {'are cut' if not up else 'are back'}: " + ", ".join(
                    f"{a} - {b}" for a, b in pairs[:8]
                )
                kind = kind if up else "partition"
            self.mark(kind, text, names)
            self.feed.say("fault", text)

    def _link_id(self, own: str) -> str | None:
        a, _, b = own.partition("|")
        return next((f"{x}|{y}" for x, y in ((a, b), (b, a)) if (x, y) in self._links), None)

    def _measured(self, own: str) -> Row | None:
        """What the viewing node measured on a link that the emulator describes."""
        row = self._own_links.get(own)
        return None if row is None else {name: row[name] for name in ("rtt_s", "goodput_bytes_s")}

    # ---- marks --------------------------------------------------------------------------------------

    def mark(
        self,
        kind: str,
        text: str,
        nodes: list[str],
        *,
        t: float | None = None,
        job: str | None = None,
        key: str = "",
    ) -> None:
        """Something that the curves show as a line."""
        self._marks += 1
        at = self.feed.t() if t is None else t
        job = job or self.feed.header.get("job")
        known = self.feed.tables["jobs"].get(job) if job else None
        began_t = known.get("began_t") if known else None
        identifier = key or f"m{self._marks}"
        row = {
            "id": identifier,
            "kind": kind,
            "t": at,
            "job": job,
            "age_s": round(at - began_t, 2) if began_t is not None else None,
            "nodes": nodes,
            "text": text,
        }
        marks = self.feed.tables["marks"]
        oldest: Rows = {next(iter(marks)): None} if len(marks) >= MARKS_MAX else {}
        self.feed.publish({"marks": {**oldest, identifier: row}})


def _absorb(table: dict[str, Row], rows: Rows) -> None:
    for key, row in rows.items():
        if row is None:
            table.pop(key, None)
        else:
            table[key] = {**table.get(key, {}), **row}


def _process(condition: Row, *, ran: bool) -> str:
    if not condition["running"]:
        return "ended" if ran else "starting"
    return "paused" if condition["paused"] else "running"


def _unheard(key: str) -> Row:
    """An emulated node that the viewing node has never heard of."""
    unknown = (
        *("key", "heard_t", "battery", "step_s", "samples", "job", "round"),
        *("offer", "refusal", "plan", "resources"),
    )
    return {
        "id": key,
        "name": key,
        "me": False,
        "state": "unknown",
        "progress": 0.0,
        "reachable": False,
        **dict.fromkeys(unknown),
        "tasks": [],
    }
