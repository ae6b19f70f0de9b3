/** In a node's card: the model of each task that is in use there, how good it is, and what can be done about it. */

import { goBack } from "../api";
import { el, keyed, setText, show } from "../dom";
import { count, figure, percent, plural, span } from "../format";
import { openLabelling } from "../labelling";
import { attempt, say } from "../say";
import type { Store } from "../store";
import type { NodeRow, FieldRow } from "../types";
import { drawFacts } from "./linkpanel";

/** Why a model is in use, for people, and the tone of it. */
export const REASONS: Record<string, { text: string; tone: string }> = {
  first: { text: "the first model", tone: "grey" },
  adopted: { text: "better on held-out labels", tone: "green" },
  forced: { text: "forced by a person", tone: "red" },
  returned: { text: "came back: it answers better", tone: "violet" },
  "rolled back": { text: "taken back by a person", tone: "violet" },
};

export function live(row: FieldRow): number | null {
  return row.live_labels > 0 ? row.live_right / row.live_labels : null;
}

export class InUse {
  readonly element = el("div", { class: "in-use" });

  constructor(private readonly store: Store) {}

  draw(node: NodeRow): void {
    const rows = this.store.usesOf(node.id);
    show(this.element, rows.length > 0);
    keyed(this.element, rows, (row) => row.task, (row) => this.make(row), (item, row) => this.update(item, row, node));
  }

  private make(row: FieldRow): HTMLElement {
    const task = row.task;
    const back = el("button", { type: "button", "data-do": "rollback",
      onclick: () => void attempt(goBack(task).then((moved) => say(`${moved.version} is in use: ${moved.said}`))) }, "Rollback");
    const label = el("button", { type: "button", "data-do": "label", onclick: () => void openLabelling(task) }, "Label");
    return el("section", { "aria-label": `In use: ${task}` },
      el("h4", {}), el("p", { class: "state" }), el("dl", { class: "facts" }), el("div", { class: "controls two" }, label, back));
  }

  private update(item: HTMLElement, row: FieldRow, node: NodeRow): void {
    const [title, state, facts, buttons] = Array.from(item.children) as HTMLElement[];
    const reason = REASONS[row.reason];
    setText(title!, `In use: ${row.task} ${row.version ?? "nothing yet"}`);
    setText(state!, row.waits || (reason?.text ?? ""));
    state!.style.setProperty("--tone", `var(--${row.need === "open" ? "yellow" : (reason?.tone ?? "grey")})`);
    drawFacts(facts as HTMLDListElement, this.facts(row));
    const mine = node.me && this.store.may();
    show(buttons!, mine && row.version !== null);
    const [label, back] = Array.from(buttons!.children) as HTMLElement[];
    setText(label!, row.labels_wanted ? `Label (${row.labels_wanted} wanted)` : "Label");
    label!.className = row.labels_wanted ? "good" : "";
    show(back!, row.former !== null);
    if (row.former !== null) back!.title = `Have ${row.former} in use again`;
  }

  private facts(row: FieldRow): [string, string][] {
    const found: [string, string][] = [];
    if (row.since_t !== null) found.push(["since", span(this.store.now_t() - row.since_t)]);
    if (row.live_labels) found.push(["right, live", `${percent(live(row))} of ${plural(row.live_labels, "label")}`]);
    if (row.held_labels) found.push(["held out", `${row.wins} won, ${row.losses} lost of ${row.held_labels}`]);
    if (row.labels !== null) found.push(["labels now", count(row.labels)]);
    if (row.alike.length) found.push(["same as", row.alike.join(", ")]);
    if (row.former !== null) found.push(["before it", row.former]);
    if (row.job !== null) found.push(["job", row.job.slice(0, 8)]);
    const server = row.server;
    if (server !== null) {
      const bad = server.failures + server.refused;
      found.push(["requests", `${count(server.requests)}, ${bad ? `${count(bad)} failed` : "none failed"}`]);
      found.push(["answers in", server.p99_ms === null ? "–" : `${figure(server.p99_ms, 1)} ms (99 %)`]);
      if (server.fault) found.push(["not well", server.fault]);
      found.push(["served at", server.url]);
    }
    return found;
  }
}
