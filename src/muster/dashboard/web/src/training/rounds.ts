/** The round in progress: for each node a bar of receive, train, send, and when it is expected to be in. */

import { byId, el, keyed, setText, setVar, show, toggle } from "../dom";
import { percent, span } from "../format";
import type { Store } from "../store";
import type { RoundPart } from "../types";

const LABELS: Record<RoundPart["phase"], string> = {
  wait: "waits", receive: "receives", train: "trains", send: "sends", in: "in",
};
const ORDER: RoundPart["phase"][] = ["wait", "receive", "train", "send", "in"];

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
    const all = Object.entries(round.nodes).sort(([a], [b]) => this.store.name(a).localeCompare(this.store.name(b)));
    const end = this.end(round.expected_t, round.deadline_t, now_t);
    setText(this.line, [`round ${round.round}: ${round.arrived} of ${all.length} in${end}`, ...waits].join("; "));
    this.line.title = round.why;
    show(this.list, true);
    toggle(this.list, "past", false);
    keyed(this.list, all, ([node]) => node, () => this.make(), (item, [node, part]) => this.update(item, node, part, now_t));
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

  private update(item: HTMLElement, node: string, part: RoundPart, now_t: number): void {
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
  }
}
