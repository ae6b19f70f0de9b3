"""Two views made one: what a node knows of its fleet, and what the emulator knows of the network beneath it.

What the node says stands, and grows old; the emulator adds what no node can know of another (its radio is
off, its process was killed, what a link carries) and puts it in the log and among the marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from muster.dashboard.emulated_links import EmulatedLinks, LinkSettings, Pair
from muster.dashboard.feed import TABLES, Feed
from muster.dashboard.marks import Marks
from muster.node.api.rows.changes import Row, Rows, absorb
from muster.node.api.rows.schema import EmulatedRow, NodeRow, SelfReport

SAME_LINE_S = 0.05
NODE_TABLES = ("links", "jobs", "rounds", "commits", "contributions")
LOSSES = {  # condition of an emulated node -> kind of mark, text
    "gone": ("kill", "the process of {} has ended"),
    "paused": ("pause", "{} is paused"),
    "away": ("leave", "{} switches its radio off"),
}
RETURNS = {  # from which condition it came back
    "gone": ("restart", "{} is started again"),
    "paused": ("resume", "{} runs again"),
    "away": ("join", "{} has its radio on again"),
}


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
        self.marks = Marks(feed)
        self._nodes: dict[str, Row] = {}  # as the viewing node knows them
        self._own_links: dict[str, Row] = {}  # as it measured them
        self._conditions: dict[str, Row] = {}  # of emulated nodes, by the emulator
        self._reports: dict[str, Row] = {}  # what emulated nodes say of themselves
        self._models: dict[str, Row] = {}  # in use, as the viewing node knows them
        self._own_models: dict[str, Row] = {}  # as each emulated node says it of itself
        self._links = EmulatedLinks()
        self._ran: set[str] = set()
        self._line_t = float("-inf")
        self._shift_s = 0.0

    # ---- the node's view ----------------------------------------------------------------------------

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
        absorb(self._nodes, nodes := moved.get("nodes", {}))
        absorb(self._models, models := moved.get("field", {}))
        feed.publish({"field": {key: self._model(key) for key in models}})
        links = moved.get("links", {})
        if self._emulated:
            absorb(self._own_links, links)
            links = {
                key: row
                for own in links
                if (key := self._links.id_of(own)) is not None and (row := self._measured(own)) is not None
            }
        changes: dict[str, Rows] = {t: moved[t] for t in NODE_TABLES if t in moved and t != "links"}
        feed.publish({**changes, "links": links, "nodes": {key: self._node(key) for key in nodes}})
        for mark in moved.get("marks", {}).values():
            self.marks.add(
                mark["kind"], mark["text"], mark["nodes"], t=mark["t"], job=mark["job"], key=mark["id"]
            )
        for line in moved.get("log", ()):
            if line["t"] > self._line_t + SAME_LINE_S or not first:  # a new connection sends all again
                self._line_t = max(self._line_t, line["t"])
                feed.add_line(line["kind"], line["text"], t=line["t"], node=line["node"], job=line["job"])

    def _forget(self, moved: Mapping[str, Any]) -> None:
        """Rows that the node does not know any more, or another node does not know."""
        gone = [key for key in self._nodes if key not in moved.get("nodes", {})]
        for key in gone:
            del self._nodes[key]
        self._own_links = {}
        left = [key for key in self._models if key not in moved.get("field", {})]
        for key in left:
            del self._models[key]
        self.feed.publish({"nodes": {key: self._node(key) for key in gone}})
        self.feed.publish({"field": {key: self._model(key) for key in left}})
        for table in NODE_TABLES if not self._emulated else NODE_TABLES[1:]:
            known, found = self.feed.tables[table], moved.get(table, {})
            self.feed.publish({table: {key: None for key in list(known) if key not in found}})

    def _measured(self, own: str) -> Row | None:
        """What the viewing node measured on a link that the emulator describes."""
        row = self._own_links.get(own)
        return None if row is None else {name: row[name] for name in ("rtt_s", "goodput_bytes_s")}

    def _model(self, key: str) -> Row | None:
        """A model in use: the node itself knows most of it."""
        return self._own_models.get(key) or self._models.get(key)

    # ---- nodes, by both -----------------------------------------------------------------------------

    def _node(self, key: str) -> Row | None:
        row, condition = self._nodes.get(key), self._conditions.get(key)
        if condition is None:
            return row
        row = row or _unheard(key)
        report = self._reports.get(key)
        process = self._process(key, condition)
        state = row["state"]
        if process != "running":
            state = "gone" if process == "ended" else process
        elif condition["away"]:
            state = "away"
        emulated = EmulatedRow(
            address=condition["address"],
            process=process,
            away=condition["away"],
            slowdown=condition["slowdown"],
            says=SelfReport(report["state"], round(report["progress"], 2)) if report else None,
        )
        shown = ("resources", "tasks", "health") if report and not row["me"] else ()
        own = {name: report[name] for name in shown if report and name in report}
        return {**row, **own, "state": state, "emulated": msgspec.to_builtins(emulated)}

    def _process(self, key: str, condition: Row) -> Literal["starting", "running", "paused", "ended"]:
        if not condition["running"]:
            return "ended" if key in self._ran else "starting"
        return "paused" if condition["paused"] else "running"

    def report(self, key: str, report: Row | None) -> None:
        """What an emulated node says of itself, or None when it does not answer."""
        if report is None:
            self._reports.pop(key, None)
        else:
            # All clocks of one machine are one clock, the feed's too.
            self._reports[key] = shifted(report, self.feed.at(0.0))
        self.feed.publish({"nodes": {key: self._node(key)}})
        own = {} if report is None else self._reports[key].pop("field", {})
        before = [model for model, row in self._own_models.items() if row["node"] == key]
        for model in before:
            del self._own_models[model]
        self._own_models |= own
        self.feed.publish({"field": {model: self._model(model) for model in {*before, *own}}})

    def conditions(self, nodes: list[Row]) -> None:
        """How every emulated node is, by the emulator."""
        first = not self._conditions
        changed = {}
        for condition in nodes:
            key = condition["name"]
            before = self._condition(key) if not first else None
            self._conditions[key] = condition
            if condition["running"]:
                self._ran.add(key)
            changed[key] = (before, self._condition(key))
        self.feed.publish({"nodes": {key: self._node(key) for key in self._conditions}})
        for key, (before, after) in changed.items():
            if not first and before != after:
                self._mark_node(key, before, after)

    def _condition(self, key: str) -> str:
        """starting, running, away, paused or gone."""
        condition = self._conditions.get(key)
        if condition is None:
            return "starting"
        process = self._process(key, condition)
        if process != "running":
            return "gone" if process == "ended" else process
        return "away" if condition["away"] else "running"

    def _mark_node(self, key: str, before: str | None, after: str) -> None:
        if after in LOSSES:
            kind, text = LOSSES[after]
        elif before == "starting" or after == "starting":
            return
        else:
            kind, text = RETURNS.get(before or "", ("join", "{} is back"))
        self.marks.add(kind, text.format(key), [key])
        self.feed.add_line("fault", text.format(key), node=key)

    # ---- links, by the emulator ---------------------------------------------------------------------

    def links(self, found: list[Row], settings: Callable[[Pair], LinkSettings]) -> None:
        """Parameters and counters of every direction; `settings`: what was asked for on the page."""
        first = not self._links
        changes = self._links.look(found, self.feed.t(), settings, self._measured)
        for a, b in changes.altered:
            self.marks.add("link", f"the link {a} - {b} is changed", [a, b])
        self.feed.publish({"links": changes.rows})
        if not first:
            self._mark_links(changes.turned)

    def _mark_links(self, turned: list[tuple[Pair, bool]]) -> None:
        for up, kind, text in ((False, "cut", "is cut"), (True, "heal", "is back")):
            pairs = [pair for pair, now_up in turned if now_up is up]
            if not pairs:
                continue
            names = sorted({name for pair in pairs for name in pair})
            if len(pairs) == 1:
                text = f"the link {pairs[0][0]} - {pairs[0][1]} {text}"
            else:
                text = f"{len(pairs)} links {'are cut' if not up else 'are back'}: " + ", ".join(
                    f"{a} - {b}" for a, b in pairs[:8]
                )
                kind = kind if up else "partition"
            self.marks.add(kind, text, names)
            self.feed.add_line("fault", text)


def _unheard(key: str) -> Row:
    """An emulated node that the viewing node has never heard of."""
    row = NodeRow(
        id=key,
        name=key,
        key=None,
        me=False,
        state="unknown",
        progress=0.0,
        heard_t=None,
        reachable=False,
        battery=None,
        power=None,
        step_s=None,
        samples=None,
        job=None,
        round=None,
        offer=None,
        refusal=None,
        plan=None,
        resources=None,
        health=None,
        tasks=[],
        refused=0,
        cut_off=False,
        shared=[],
        left=None,
        emulated=None,
    )
    built: Row = msgspec.to_builtins(row)
    return built
