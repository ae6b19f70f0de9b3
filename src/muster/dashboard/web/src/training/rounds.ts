/**
 * The round in progress: for each node a bar of receive, train, send, and when it is expected to be in. A node that
 * misses it has a dashed bar of what another one trains in its place.
 */

import { byId, el, keyed, setText, setVar, show, toggle } from "../dom";
import { percent, span } from "../format";
import type { Store } from "../store";
import type { RoundPart, RoundRow } from "../types";

const LABELS: Record<RoundPart["phase"], string> = {
  wait: "waits", receive: "receives", train: "trains", send: "sends", in: "in",
};
const ORDER: RoundPart["phase"][] = ["wait", "receive", "train", "send", "in"];

interface Line {
  node: string;
  part: RoundPart;
  trainer: string | null; // who trains in its place; null: it does its part itself
}

/** The nodes that do their part, then those that are stood in for; each by name. */
export function lines(round: RoundRow, name: (node: string) => string): Line[] {
  const own = Object.entries(round.nodes).map(([node, part]) => ({ node, part, trainer: null }));
  const others = Object.entries(round.stand_ins)
    .filter(([node]) => !(node in round.nodes))
    .map(([node, { trainer, phase, progress, steps }]) => (
      { node, part: { phase, progress, steps, codec: "", expected_t: null }, trainer }
    ));
  const byName = (a: Line, b: Line) => name(a.node).localeCompare(name(b.node));
  return [...own.sort(byName), ...others.sort(byName)];
}

/** How far each of receive, train and send has come, 0..1. */
export function parts(part: RoundPart): [number, number, number] {
  const at = ORDER.indexOf(part.phase) - 1;
  const far = part.progress ?? 0.5;
  const of = (k: number) => (at > k ? 1 : at === k ? far : 0);
  return [of(0), of(1), of(2)];
}

export class RoundBars {
  private readonly list = byId("round-bars");
  private readonly line = byId("round-line");

  constructor(private readonly store: Store) {}

  draw(): void {
    const job = this.store.job();
    const round = job === null ? undefined : this.store.tables.rounds[job];
    const row = job === null ? undefined : this.store.tables.jobs[job];
    const now_t = this.store.now_t();
    const waits = row?.waits ?? [];
    if (round === undefined) {
      const why = row === undefined ? "no job yet" : row.why || `${row.state}, round ${row.round}`;
      setText(this.line, [why, ...waits.filter((fact) => !why.includes(fact))].join("; "));
      toggle(this.list, "past", true);
      show(this.list, this.list.childElementCount > 0 && row?.state === "running");
      return;
    }
    const all = lines(round, (node) => this.store.name(node));
    const asked = Object.keys(round.nodes).length;
    const away = all.length - asked ? `, ${all.length - asked} stood in for` : "";
    const end = this.end(round.expected_t, round.deadline_t, now_t);
    setText(this.line, [`round ${round.round}: ${round.arrived} of ${asked} in${away}${end}`, ...waits].join("; "));
    this.line.title = round.why;
    show(this.list, true);
    toggle(this.list, "past", false);
    keyed(this.list, all, (line) => line.node, () => this.make(), (item, line) => this.update(item, line, now_t));
  }

  private end(expected_t: number | null, deadline_t: number | null, now_t: number): string {
    if (!this.store.alive()) return "";
    const late = deadline_t === null || deadline_t <= now_t ? "" : `, at the latest in ${span(deadline_t - now_t)}`;
    if (expected_t === null) return late && ` ·${late.slice(1)}`;
    if (expected_t <= now_t) return ` · ends any moment${late}`;
    return ` · ends in about ${span(expected_t - now_t)}${late}`;
  }

  private make(): HTMLElement {
    const bars = el("span", { class: "phases", role: "img" }, el("i"), el("i"), el("i"));
    return el("li", {}, el("span", { class: "who" }), bars, el("span", { class: "when" }));
  }

  private update(item: HTMLElement, { node, part, trainer }: Line, now_t: number): void {
    const [who, bars, when] = Array.from(item.children) as [HTMLElement, HTMLElement, HTMLElement];
    setText(who, this.store.name(node));
    parts(part).forEach((done, k) => setVar(bars.children[k] as HTMLElement, "--part", `${Math.round(done * 100)}%`));
    const far = part.progress === null || part.phase === "in" || part.phase === "wait" ? "" : ` ${percent(part.progress, 0)}`;
    const left_s = part.expected_t === null ? null : part.expected_t - now_t;
    const soon = part.phase === "in" || left_s === null || !this.store.alive() ? "" : left_s > 0 ? `, in ${span(left_s)}` : "";
    setText(when, part.phase === "in" ? "✓ in" : `${LABELS[part.phase]}${far}`);
    when.title = `${part.steps} steps, ${part.codec}`;
    bars.setAttribute("aria-label", `${LABELS[part.phase]}${far}${soon}`);
    item.title = `${part.steps} steps, ${part.codec}${soon && `; expected${soon}`}`;
    toggle(item, "in", part.phase === "in");
    toggle(item, "instead", trainer !== null);
    if (trainer === null) return;
    const by = this.store.name(trainer);
    setText(when, part.phase === "in" ? "✓ stand-in" : `by ${by}${far}`);
    when.title = `${part.steps} steps`;
    item.title = `${this.store.name(node)} misses the round${this.met(node, now_t)}: ` +
      `${by} trains ${part.steps} steps on what it shared`;
    bars.setAttribute("aria-label", item.title);
  }

  private met(node: string, now_t: number): string {
    const heard_t = this.store.tables.nodes[node]?.heard_t ?? null;
    return heard_t === null ? "" : ` (last heard ${span(now_t - heard_t)} ago)`;
  }
}
